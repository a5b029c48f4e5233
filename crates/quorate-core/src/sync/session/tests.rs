mod choosing;
mod fetching;
mod model;
mod rig;
mod toy;
mod world;
