//! An image's family: what it was made from, and what was made from it. Of others' images and containers only the number is
//! told, which whoever deletes the image learns anyway.

use std::collections::{HashMap, HashSet};

use store::images::Row;
use store::{containers, images};
use wire::ids::ImageId;
use wire::images::{DependentContainer, ImageTree, TREE_IMAGES_MAX, TreeImage};

use super::images::{shown_name, visible};
use crate::app::App;
use crate::caller::Caller;
use crate::error::Result;

/// Images or containers of one generation that are looked at; with others' among them, so that it is more than are shown.
const GENERATION_MAX: u64 = 5_000;

/// The family of an image.
pub async fn tree(app: &App, caller: &Caller, id: ImageId) -> Result<ImageTree> {
    let image = visible(&app.db, caller, id).await?;
    let (mut family, mut is_complete) = ancestors(app, caller, &image).await?;
    family.push(image);
    let mut others: HashMap<ImageId, u64> = HashMap::new();
    let mut seen: HashSet<ImageId> = family.iter().map(|row| row.id).collect();
    let mut generation = vec![id];
    while !generation.is_empty() {
        let children = images::children(&app.db, &generation, GENERATION_MAX).await?;
        is_complete &= (children.len() as u64) < GENERATION_MAX;
        generation.clear();
        for child in children {
            let Some(parent) = child.parent_image_id else { continue };
            if !caller.may_pull(&child.owner) {
                *others.entry(parent).or_default() += 1;
            } else if family.len() >= TREE_IMAGES_MAX {
                is_complete = false;
            } else if seen.insert(child.id) {
                generation.push(child.id);
                family.push(child);
            }
        }
    }

    let mut made_from: HashMap<ImageId, Vec<DependentContainer>> = HashMap::new();
    let ids: Vec<ImageId> = family.iter().map(|row| row.id).collect();
    let found = containers::of_images(&app.db, &ids, GENERATION_MAX).await?;
    is_complete &= (found.len() as u64) < GENERATION_MAX;
    for container in found {
        if caller.may_act_for(container.account_id) {
            let shown = DependentContainer { id: container.id, name: Some(container.name.to_string()) };
            made_from.entry(container.image_id).or_default().push(shown);
        } else {
            *others.entry(container.image_id).or_default() += 1;
        }
    }

    let layers: HashMap<ImageId, HashSet<String>> = family
        .iter()
        .map(|row| (row.id, row.layers.iter().map(|layer| layer.digest.to_string()).collect()))
        .collect();
    let shown = family.iter().map(|row| {
        let of_parent = row.parent_image_id.and_then(|parent| layers.get(&parent));
        let is_added = |digest: &str| of_parent.is_none_or(|layers| !layers.contains(digest));
        let added = row.layers.iter().filter(|layer| is_added(layer.digest.as_str()));
        TreeImage {
            id: row.id,
            name: shown_name(row),
            parent_image_id: row.parent_image_id,
            source: row.source,
            description: row.description.clone(),
            size_bytes: row.size_bytes,
            added_bytes: added.map(|layer| layer.size_bytes).sum(),
            layers: row.layers.len() as u64,
            containers: made_from.remove(&row.id).unwrap_or_default(),
            others: others.get(&row.id).copied().unwrap_or_default(),
            created_at: row.created_at,
        }
    });
    Ok(ImageTree { id, images: shown.collect(), is_complete })
}

/// What an image was made from, oldest first, as far as the caller may see it.
async fn ancestors(app: &App, caller: &Caller, image: &Row) -> Result<(Vec<Row>, bool)> {
    let mut line: Vec<Row> = Vec::new();
    let mut next = image.parent_image_id;
    while let Some(id) = next {
        // The youngest image of a family always has room.
        if line.len() + 1 >= TREE_IMAGES_MAX || line.iter().any(|row| row.id == id) {
            line.reverse();
            return Ok((line, false));
        }
        let Some(row) = images::get(&app.db, id).await?.filter(|row| caller.may_pull(&row.owner)) else {
            break;
        };
        next = row.parent_image_id;
        line.push(row);
    }
    line.reverse();
    Ok((line, true))
}
