//! popleft

pub mod generator;
