//! Carrel on the wire: the types of the API as they are generated from `proto/`, and the one client.
//!
//! Nothing here knows the rules of the library; the translation to and from them is the node's.

pub mod client;

#[allow(clippy::large_enum_variant, reason = "generated; an event is on its way from one place to the next")]
pub mod v1 {
    //! `carrel.v1`: what people and programs call.
    tonic::include_proto!("carrel.v1");
}

pub mod admin {
    pub mod v1 {
        //! `carrel.admin.v1`: running the cluster.
        tonic::include_proto!("carrel.admin.v1");
    }
}

pub mod peer {
    pub mod v1 {
        //! `carrel.peer.v1`: what replicas say to each other.
        tonic::include_proto!("carrel.peer.v1");
    }
}

/// Every message and service above, as an encoded `FileDescriptorSet`: for reflection and for JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
