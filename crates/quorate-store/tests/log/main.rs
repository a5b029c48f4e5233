//! The log on disks that behave and disks that do not.
//!
//! All in one program: linked once, they are built in a fraction of the time.

mod common;

mod boots;
mod crash;
mod damage;
mod files;
mod format;
mod order;
mod removal;
