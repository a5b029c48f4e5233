//! What most applications need; `use quorate::prelude::*`.

pub use crate::{
    Change, Changes, ChangesError, Committed, Cursor, Form, Group, GroupKey, GroupProfile, Key,
    Map, Network, Read, ReadError, Since, WriteError,
};
