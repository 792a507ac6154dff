//! The language of Dockerfiles: text in, instructions and faults out. Pure.

pub(crate) mod fault;
pub(crate) mod instruction;

mod flags;
mod heredoc;
mod lines;
mod parse;
mod words;

pub(crate) mod expand;
pub(crate) mod glob;
pub(crate) mod ignore;

pub(crate) use lines::FILE_MAX_BYTES;
pub(crate) use parse::{parse, trigger};
