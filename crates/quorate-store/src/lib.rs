//! Block-file seam, record format, recovery and the memory twin of Quorate.
