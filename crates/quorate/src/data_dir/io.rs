//! Files as a data directory needs them: for their owner alone, and on the disk when they are said
//! to be.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// What the name of a file ends in while it is being written.
pub(super) const DRAFT: &str = ".new";

/// Lets only the owner read and write what is created.
#[cfg(unix)]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Makes a directory, with those above it, that only its owner can look into; each has its name in
/// the one above durably before anything is put into it.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = path.ancestors().take_while(missing).collect();
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    for path in made.into_iter().rev() {
        match builder.create(path) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created?,
        }
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        Directory::open(above.unwrap_or(Path::new(".")))?.sync()?;
    }
    if path.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

/// Writes a file that is there whole or not at all, whatever happens meanwhile.
pub(super) fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = directory.join(format!("{name}{DRAFT}"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = private(&mut options).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    Directory::open(directory)?.sync()
}

/// A directory whose names can be made durable.
#[derive(Debug)]
pub(super) struct Directory {
    #[cfg(unix)]
    file: fs::File,
}

impl Directory {
    #[cfg(unix)]
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = fs::File::open(path)?;
        Ok(Self { file })
    }

    /// Elsewhere a directory cannot be opened to be synced; its file system has a journal of names.
    #[cfg(not(unix))]
    pub(super) fn open(_: &Path) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Makes the names in it survive a power loss.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(unix)]
        self.file.sync_all()?;
        Ok(())
    }
}
