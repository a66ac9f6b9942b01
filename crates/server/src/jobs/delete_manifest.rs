//! Removes an image's content from the registry after its last row is gone. Doing it twice finds nothing to do.

use store::jobs::Row;

use crate::app::App;
use crate::domain::images;
use crate::error::Result;

pub(super) async fn run(app: &App, job: &Row) -> Result<()> {
    images::delete_content(app, &job.target).await
}
