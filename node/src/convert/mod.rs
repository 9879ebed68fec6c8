//! The translation between the wire and the rules, both ways, and nowhere else.

pub mod catalog;
pub mod policy;
pub mod invalid;
pub mod names;
pub mod presence_code;
pub mod mail_code;
pub mod refusal;
pub mod reply;
pub mod reports;
pub mod audit;
pub mod request;
pub mod time;
pub mod token;
