mod cast;
mod explain;
mod group;
mod level;
mod requirement;
mod step;
mod window;

#[cfg(feature = "policy-file")]
mod load;
