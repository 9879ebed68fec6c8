//! Who calls whom, as metadata of every call: `cluster id/lineage/from/to`.

use thiserror::Error;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use uuid::Uuid;

use crate::raft::peers::Route;

pub const KEY: &str = "carrel-route";

/// Why a call does not even say whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoRoute {
    #[error("the call carries no {KEY}")]
    Missing,
    #[error("the call's {KEY} cannot be understood")]
    Malformed,
}

pub fn write(route: &Route) -> MetadataValue<Ascii> {
    written(route).parse().expect("digits and slashes are ASCII")
}

pub fn read(metadata: &MetadataMap) -> Result<Route, NoRoute> {
    let mut values = metadata.get_all(KEY).iter();
    let value = values.next().ok_or(NoRoute::Missing)?;
    let text = value.to_str().map_err(|_| NoRoute::Malformed)?;
    match (parsed(text), values.next()) {
        // One spelling for each route: a sign, a zero in front or an id with hyphens was written by someone else.
        (Some(route), None) if written(&route) == text => Ok(route),
        _ => Err(NoRoute::Malformed),
    }
}

fn written(route: &Route) -> String {
    let Route { cluster_id, lineage, from, to } = route;
    format!("{}/{lineage}/{from}/{to}", Uuid::from_bytes(*cluster_id).simple())
}

fn parsed(text: &str) -> Option<Route> {
    let mut parts = text.splitn(4, '/');
    Some(Route {
        cluster_id: Uuid::try_parse(parts.next()?).ok()?.into_bytes(),
        lineage: parts.next()?.parse().ok()?,
        from: parts.next()?.parse().ok()?,
        to: parts.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> Result<Route, NoRoute> {
        let mut metadata = MetadataMap::new();
        metadata.insert(KEY, text.parse().expect("ASCII"));
        read(&metadata)
    }

    #[test]
    fn a_route_is_read_as_it_was_written() {
        for (lineage, from, to) in [(0, 0, 0), (1, 2, 3), (u32::MAX, u64::MAX, u64::MAX - 1)] {
            let route = Route { cluster_id: [0xA7; 16], lineage, from, to };
            let mut metadata = MetadataMap::new();
            assert_eq!(read(&metadata), Err(NoRoute::Missing));
            metadata.insert(KEY, write(&route));
            assert_eq!(read(&metadata), Ok(route));
            metadata.append(KEY, write(&route));
            assert_eq!(read(&metadata), Err(NoRoute::Malformed), "two routes are none");
        }
    }

    #[test]
    fn anything_else_is_no_route() {
        let id = "a7".repeat(16);
        assert!(reading(&format!("{id}/1/2/3")).is_ok());
        for text in [
            String::new(),
            id.clone(),
            format!("{id}/1/2"),
            format!("{id}/1/2/3/4"),
            format!("{id}/1/2/3/"),
            format!("{id}/+1/2/3"),
            format!("{id}/01/2/3"),
            format!("{id}/-1/2/3"),
            format!("{id}/4294967296/2/3"),
            format!(" {id}/1/2/3"),
            format!("{}/1/2/3", id.to_uppercase()),
            format!("{}/1/2/3", &id[1..]),
        ] {
            assert_eq!(reading(&text), Err(NoRoute::Malformed), "{text:?}");
        }
    }
}
