//! What most applications need; `use quorate::prelude::*`.

pub use crate::{
    ApplyContext, Change, Changes, ChangesError, Client, ClientError, ClientId, Committed, Cursor,
    Event, Form, Group, GroupEvent, GroupKey, GroupProfile, ItemError, Key, LeaveError, Map,
    Network, PeerId, Read, ReadError, RequestName, Since, StateMachine, Table, Ticket, TicketError,
    TransferError, View, WriteError,
};
