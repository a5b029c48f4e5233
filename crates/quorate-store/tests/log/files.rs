//! What the memory twin of a directory loses, as a disk does.

use bytes::Bytes;
use quorate_store::{Fate, FileDone, FileId, FileOp, FileOpId, FileRequest, MemoryFiles, Unsynced};

const FILE: FileId = FileId(1);

struct Directory {
    files: MemoryFiles,
    next: u64,
}

impl Directory {
    /// Makes a directory with one file that is synced, and empty.
    fn with_a_file() -> Self {
        let mut directory = Self {
            files: MemoryFiles::crashing(),
            next: 0,
        };
        directory.open();
        directory.sync();
        directory.run(FileOp::SyncDirectory);
        directory
    }

    fn run(&mut self, op: FileOp) -> FileDone {
        let id = FileOpId(self.next);
        self.next += 1;
        self.files
            .execute(FileRequest { id, op })
            .1
            .expect("the request is carried out")
    }

    fn open(&mut self) {
        self.run(FileOp::Open {
            file: FILE,
            name: "log".to_owned(),
            create: true,
        });
    }

    fn write(&mut self, offset: u64, bytes: &'static [u8]) {
        self.run(FileOp::Write {
            file: FILE,
            offset,
            bytes: Bytes::from_static(bytes),
        });
    }

    fn sync(&mut self) {
        self.run(FileOp::Sync { file: FILE });
    }

    /// Loses power with a disk that had written everything it knew of.
    fn crash(&mut self) -> Vec<u8> {
        self.files.crash(|_: Unsynced<'_>| Fate::Kept);
        self.content()
    }

    fn content(&self) -> Vec<u8> {
        self.files.content("log").expect("the file is there")
    }
}

#[test]
fn what_a_failed_sync_should_have_covered_no_later_sync_covers() {
    let mut directory = Directory::with_a_file();
    directory.write(0, b"abc");
    directory.files.fail_sync(FILE);
    directory.write(3, b"def");
    directory.sync();
    assert_eq!(directory.content(), b"abcdef", "it stays readable");
    assert_eq!(directory.crash(), b"\0\0\0def", "and is not on the disk");
}

#[test]
fn what_is_written_again_after_a_failed_sync_is_covered_by_the_next() {
    for (offset, again, left) in [
        (0, &b"abc"[..], &b"abc"[..]),
        (1, b"B", b"\0B"),
        (0, b"AB", b"AB"),
        (2, b"CD", b"\0\0CD"),
    ] {
        let mut directory = Directory::with_a_file();
        directory.write(0, b"abc");
        directory.files.fail_sync(FILE);
        directory.write(offset, again);
        let read = directory.content();
        directory.sync();
        assert_eq!(directory.content(), read, "{offset} {again:?}");
        assert_eq!(directory.crash(), left, "{offset} {again:?}");
    }
}

#[test]
fn what_was_written_before_a_failed_sync_and_cut_after_it_does_not_come_back() {
    let mut directory = Directory::with_a_file();
    directory.write(0, b"abc");
    directory.files.fail_sync(FILE);
    directory.run(FileOp::Truncate {
        file: FILE,
        length: 1,
    });
    directory.sync();
    assert_eq!(directory.content(), b"a");
    assert_eq!(directory.crash(), b"");
}
