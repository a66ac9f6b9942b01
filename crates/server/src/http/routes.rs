//! Routes and their description, side by side. A server only routes: the description is made when somebody asks for it, because it
//! is thousands of small values, and what a program has once used of its heap it keeps.

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter};
use utoipa::openapi::HttpMethod;
use utoipa_axum::PathItemExt as _;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::app::App;

/// The handlers of one path, and how to describe them.
pub(super) struct Handlers {
    pub(super) path: String,
    pub(super) methods: MethodRouter<App>,
    pub(super) describe: fn() -> UtoipaMethodRouter<App>,
}

/// Handlers of one path, each `module::function` with a `#[utoipa::path]` that says where and by which method it is called.
macro_rules! routes {
    ($first:ident :: $handler:ident $(, $module:ident :: $other:ident)* $(,)?) => {
        utoipa_axum::paste! {
            $crate::http::routes::Handlers {
                path: <$first::[<__path_ $handler>] as utoipa::Path>::path(),
                methods: axum::routing::MethodRouter::new()
                    .on(
                        $crate::http::routes::filter(&<$first::[<__path_ $handler>] as utoipa::Path>::methods()),
                        $first::$handler,
                    )
                    $(.on(
                        $crate::http::routes::filter(&<$module::[<__path_ $other>] as utoipa::Path>::methods()),
                        $module::$other,
                    ))*,
                describe: || utoipa_axum::routes!($first::$handler $(, $module::$other)*),
            }
        }
    };
}
pub(super) use routes;

/// The methods by which a handler is called.
pub(super) fn filter(methods: &[HttpMethod]) -> MethodFilter {
    methods
        .iter()
        .map(HttpMethod::to_method_filter)
        .reduce(MethodFilter::or)
        .expect("a description names at least one method")
}

/// Where routes are collected.
pub(super) trait Routes: Sized {
    /// With the handlers of one more path.
    fn routes(self, handlers: Handlers) -> Self;
}

/// For a server.
impl Routes for Router<App> {
    fn routes(self, handlers: Handlers) -> Self {
        self.route(&handlers.path, handlers.methods)
    }
}

/// For the description of them all.
pub(super) struct Description(pub(super) OpenApiRouter<App>);

impl Routes for Description {
    fn routes(self, handlers: Handlers) -> Self {
        Self(self.0.routes((handlers.describe)()))
    }
}
