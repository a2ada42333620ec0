mod aal;
mod explain;
mod fixtures;
mod group;
mod requirement;
mod step;
mod window;

#[cfg(feature = "policy-file")]
mod load;
