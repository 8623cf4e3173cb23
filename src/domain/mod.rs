//! The words of the product as plain types: tools, prompts, resources, images, dependencies,
//! limits, failures. No I/O.

pub mod asking;
pub mod entry;
pub mod failure;
pub mod image;
pub mod json;
pub mod limits;
pub mod principal;
pub mod program;
pub mod prompt;
pub mod resource;
pub mod run;
pub mod tool;
pub mod uri_template;
