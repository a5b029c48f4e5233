//! The files of the log, as the operating system has them: the seam's other side.
//!
//! Requests are carried out one after another, on the one thread that owns this. Names are made
//! durable only by `SyncDirectory` and contents only by `Sync`, exactly as asked: nothing here adds
//! a promise of its own, and nothing tries again.
//!
//! A long log has more segments than a process may have files open, and recovery opens them all.
//! So only the files used last stay open; another one is opened again, by its name, when it is
//! needed. One that was written since it was last synced is never closed meanwhile: an error of the
//! device that the operating system had yet to report would go with it.
//!
//! A process that has no file left to open gets some back, as a disk gets space: that a segment
//! cannot be opened just now is told as a lack of space, and tried again.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use quorate_store::{
    FileDone, FileError, FileId, FileOp, FileOpId, FileRequest, FileResult, Listed,
    limits::LONGEST_SEGMENT, segment_number, superblock,
};

use super::io::{Directory, private};
use crate::limits::OPEN_SEGMENTS;

/// The files of one log directory.
#[derive(Debug)]
pub(crate) struct RealFiles {
    path: PathBuf,
    /// Open all the time: what syncs it must not fail for want of a file to open.
    directory: Directory,
    files: BTreeMap<FileId, Known>,
    /// Counts uses, to know which was last.
    uses: u64,
}

/// A file that the store has opened.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    /// Nothing while it is not needed.
    file: Option<File>,
    used: u64,
    /// Whether it was written since it was last synced.
    unsynced: bool,
}

impl RealFiles {
    /// Uses the files of the directory at `path`, which is there.
    pub(crate) fn new(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            directory: Directory::open(&path)?,
            path,
            files: BTreeMap::new(),
            uses: 0,
        })
    }

    /// Carries one request out; returns its id and result. Blocks as long as the device does.
    pub(crate) fn execute(&mut self, request: FileRequest) -> (FileOpId, FileResult) {
        let FileRequest { id, op } = request;
        let result = self.carry_out(&op).map_err(|error| {
            let kind = kind_of(&error);
            if kind == FileError::Device {
                let directory = self.path.display();
                tracing::error!(target: "quorate::disk", %directory, ?op, %error, "a file failed");
            }
            kind
        });
        (id, result)
    }

    fn carry_out(&mut self, op: &FileOp) -> io::Result<FileDone> {
        match op {
            FileOp::Open { file, name, create } => self.open(*file, name, *create)?,
            FileOp::Close { file } => {
                self.files.remove(file);
            }
            FileOp::Read {
                file,
                offset,
                length,
            } => return self.read(*file, *offset, *length).map(FileDone::Read),
            FileOp::Write {
                file,
                offset,
                bytes,
            } => {
                let known = self.use_file(*file)?;
                known.unsynced = true;
                write_all_at(known.opened()?, bytes, *offset)?;
            }
            FileOp::Sync { file } => {
                let known = self.use_file(*file)?;
                known.opened()?.sync_data()?;
                known.unsynced = false;
            }
            FileOp::Truncate { file, length } => {
                let known = self.use_file(*file)?;
                known.unsynced = true;
                known.opened()?.set_len(*length)?;
            }
            FileOp::Rename { from, to } => fs::rename(self.path(from)?, self.path(to)?)?,
            FileOp::Remove { name } => {
                let path = self.path(name)?;
                // Its space is given back only when nobody has it open.
                self.files.retain(|_, known| known.path != path);
                fs::remove_file(path)?;
            }
            FileOp::SyncDirectory => self.directory.sync()?,
            FileOp::List => return self.list().map(FileDone::Listed),
            other => return Err(io::Error::other(format!("unknown operation {other:?}"))),
        }
        Ok(FileDone::Done)
    }

    fn open(&mut self, id: FileId, name: &str, create: bool) -> io::Result<()> {
        let path = self.path(name)?;
        let file = open(&path, create)?;
        let known = Known {
            path,
            file: Some(file),
            used: 0,
            unsynced: create,
        };
        self.files.insert(id, known);
        self.use_file(id).map(drop)
    }

    /// Reads what there is of a range, never making room for more than the file has.
    fn read(&mut self, id: FileId, offset: u64, length: u64) -> io::Result<Bytes> {
        let file = self.use_file(id)?.opened()?;
        let there = file.metadata()?.len().saturating_sub(offset);
        if length.min(there) > LONGEST_SEGMENT {
            return Err(io::Error::other("the file is longer than any segment"));
        }
        let wanted = usize::try_from(length.min(there)).map_err(io::Error::other)?;
        let mut bytes = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            match read_at(file, &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // What is not called as a file of the log is somebody else's.
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if !is_plain(&name) {
                continue;
            }
            // Of a link, what it leads to.
            let metadata = fs::metadata(entry.path())?;
            let ours = segment_number(&name).is_some() || superblock::NAMES.contains(&&*name);
            if metadata.is_file() {
                let length = metadata.len();
                files.push(Listed { name, length });
            } else if ours {
                return Err(io::Error::other(format!("{name} is no file")));
            }
        }
        Ok(files)
    }

    /// Returns a file that the store has opened, opened here too.
    fn use_file(&mut self, id: FileId) -> io::Result<&mut Known> {
        self.uses += 1;
        let known = self.files.get_mut(&id).ok_or(ErrorKind::NotFound)?;
        known.used = self.uses;
        if known.file.is_none() {
            known.file = Some(open(&known.path, false)?);
        }
        self.close_beyond(id);
        Ok(self.files.get_mut(&id).ok_or(ErrorKind::NotFound)?)
    }

    /// Closes the file that was not used for longest, if too many are open.
    fn close_beyond(&mut self, except: FileId) {
        let open = self.files.values().filter(|known| known.file.is_some());
        if open.count() <= OPEN_SEGMENTS {
            return;
        }
        let oldest = self
            .files
            .iter_mut()
            .filter(|(id, known)| **id != except && known.file.is_some() && !known.unsynced)
            .min_by_key(|(_, known)| known.used);
        if let Some((_, known)) = oldest {
            known.file = None;
        }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if is_plain(name) {
            Ok(self.path.join(name))
        } else {
            Err(io::Error::other(format!("{name:?} is no plain name")))
        }
    }
}

impl Known {
    fn opened(&self) -> io::Result<&File> {
        Ok(self.file.as_ref().ok_or(ErrorKind::NotFound)?)
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    private(&mut options).open(path)
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !name.is_empty() && name.bytes().all(plain)
}

fn kind_of(error: &io::Error) -> FileError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FileError::NoSpace,
        _ if error.raw_os_error().is_some_and(is_out_of_files) => FileError::NoSpace,
        ErrorKind::NotFound => FileError::NotFound,
        _ => FileError::Device,
    }
}

/// Tells whether the process, or the machine, has no file left to open.
fn is_out_of_files(code: i32) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    cfg!(unix) && [ENFILE, EMFILE].contains(&code)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// The thread that owns the files is the only one that moves their positions.
#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    use io::{Read, Seek};
    file.seek(io::SeekFrom::Start(offset))?;
    file.read(bytes)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use io::{Seek, Write};
    file.seek(io::SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(files: &mut RealFiles, op: FileOp) -> FileResult {
        let id = FileOpId(0);
        files.execute(FileRequest { id, op }).1
    }

    fn open_new(files: &mut RealFiles, number: u64) -> FileResult {
        let (file, name) = (FileId(number), format!("log-{number}"));
        let create = true;
        done(files, FileOp::Open { file, name, create })
    }

    #[test]
    fn only_so_many_files_are_open_and_all_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = RealFiles::new(directory.path().to_owned()).unwrap();
        let many = OPEN_SEGMENTS as u64 * 3;
        for number in 0..many {
            let file = FileId(number);
            open_new(&mut files, number).unwrap();
            let bytes = Bytes::from(number.to_le_bytes().to_vec());
            let offset = 0;
            let write = FileOp::Write {
                file,
                offset,
                bytes,
            };
            done(&mut files, write).unwrap();
            done(&mut files, FileOp::Sync { file }).unwrap();
        }
        let open = files.files.values().filter(|known| known.file.is_some());
        assert!(open.count() <= OPEN_SEGMENTS);
        for number in 0..many {
            let read = FileOp::Read {
                file: FileId(number),
                offset: 0,
                length: u64::MAX,
            };
            let read = done(&mut files, read).unwrap();
            assert_eq!(read, FileDone::Read(number.to_le_bytes().to_vec().into()));
        }
    }

    #[test]
    fn a_file_that_is_not_synced_stays_open() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = RealFiles::new(directory.path().to_owned()).unwrap();
        for number in 0..OPEN_SEGMENTS as u64 * 2 {
            open_new(&mut files, number).unwrap();
        }
        assert!(files.files.values().all(|known| known.file.is_some()));
    }

    #[test]
    fn names_that_are_not_plain_are_neither_listed_nor_touched() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["log-1", "notes.txt", ".hidden"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        fs::create_dir(directory.path().join("others")).unwrap();
        let mut files = RealFiles::new(directory.path().to_owned()).unwrap();
        let listed = done(&mut files, FileOp::List).unwrap();
        let (name, length) = ("log-1".to_owned(), 5);
        assert_eq!(listed, FileDone::Listed(vec![Listed { name, length }]));
        for name in ["../outside", "notes.txt", ""] {
            let name = name.to_owned();
            let removed = done(&mut files, FileOp::Remove { name });
            assert_eq!(removed, Err(FileError::Device));
        }
        assert!(directory.path().join("notes.txt").exists());
    }

    #[test]
    fn what_could_not_be_opened_is_not_found_by_what_follows() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = RealFiles::new(directory.path().to_owned()).unwrap();
        let (file, offset, bytes) = (FileId(9), 0, Bytes::from_static(b"x"));
        for op in [
            FileOp::Write {
                file,
                offset,
                bytes,
            },
            FileOp::Sync { file },
        ] {
            assert_eq!(done(&mut files, op), Err(FileError::NotFound));
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_counts_as_what_it_leads_to_and_a_directory_as_no_segment() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("moved"), "12345").unwrap();
        let name = "log-0000000001".to_owned();
        let link = directory.path().join(&name);
        std::os::unix::fs::symlink(elsewhere.path().join("moved"), &link).unwrap();
        let mut files = RealFiles::new(directory.path().to_owned()).unwrap();
        let listed = done(&mut files, FileOp::List).unwrap();
        assert_eq!(listed, FileDone::Listed(vec![Listed { name, length: 5 }]));
        fs::create_dir(directory.path().join("log-0000000002")).unwrap();
        assert_eq!(done(&mut files, FileOp::List), Err(FileError::Device));
    }

    #[test]
    fn a_removed_file_is_open_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = RealFiles::new(directory.path().to_owned()).unwrap();
        open_new(&mut files, 5).unwrap();
        let name = "log-5".to_owned();
        done(&mut files, FileOp::Remove { name }).unwrap();
        assert!(files.files.is_empty());
    }

    #[test]
    fn what_is_missing_is_not_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = RealFiles::new(directory.path().to_owned()).unwrap();
        let (file, name, create) = (FileId(7), "log-7".to_owned(), false);
        let opened = done(&mut files, FileOp::Open { file, name, create });
        assert_eq!(opened, Err(FileError::NotFound));
        let name = "log-7".to_owned();
        let removed = done(&mut files, FileOp::Remove { name });
        assert_eq!(removed, Err(FileError::NotFound));
    }
}
