//! State machines, the canonical tree and typed collections of Quorate.
