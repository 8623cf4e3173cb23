//! The words of the product as plain types: tools, images, dependencies, limits, failures. No I/O.

pub mod asking;
pub mod failure;
pub mod image;
pub mod json;
pub mod limits;
pub mod principal;
pub mod run;
pub mod tool;
