//! Files that hold a secret: the network's key, and the token of an HTTP interface.
//!
//! A key file is 64 hexadecimal digits and a line break. It is made once, by whichever peer comes
//! first: written under another name, then linked to its own, which fails if somebody was faster.
//! So every peer that starts at the same time reads the same key, whole.
//!
//! A secret that others can read is none: such a file is refused, with the command that mends it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::{
    limits::SECRET_FILE,
    outcome::{Code, Failure},
};

/// Returns where the key of `network` is, unless the user says otherwise.
pub(crate) fn default_key_path(network: &str) -> Result<PathBuf, Failure> {
    user_data()
        .map(|data| data.join("quorate").join(network).join("key"))
        .ok_or_else(|| {
            Failure::new(
                Code::Failed,
                "this user has no directory for data",
                "set HOME, or name a file: --key-file FILE",
            )
        })
}

/// The user's directory for data, as the system has it.
fn user_data() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(data) = set("XDG_DATA_HOME") {
        return Some(data.into());
    }
    if cfg!(windows) {
        return set("LOCALAPPDATA").map(PathBuf::from);
    }
    let home = PathBuf::from(set("HOME")?);
    Some(if cfg!(target_os = "macos") {
        home.join("Library").join("Application Support")
    } else {
        home.join(".local").join("share")
    })
}

/// Reads the key in `path`, or makes one there.
pub(crate) fn key(path: &Path) -> Result<[u8; 32], Failure> {
    match read(path) {
        Ok(text) => return parse_key(path, &text),
        Err(ReadingError::Refused(failure)) => return Err(failure),
        Err(ReadingError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        Err(ReadingError::Io(error)) => return Err(unreadable(path, &error)),
    }
    make_key(path).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("the key file {} cannot be made: {error}", path.display()),
            "make its directory writable, or name another file: --key-file FILE",
        )
    })?;
    match read(path) {
        Ok(text) => parse_key(path, &text),
        Err(ReadingError::Refused(failure)) => Err(failure),
        Err(ReadingError::Io(error)) => Err(unreadable(path, &error)),
    }
}

/// Keeps a key in `path`, in the place of another one, if that is not what it holds.
pub(crate) fn keep(path: &Path, key: &[u8; 32]) -> Result<(), Failure> {
    let text = format!("{}\n", HEXLOWER.encode(key));
    if fs::read_to_string(path).is_ok_and(|held| held == text) {
        return Ok(());
    }
    let new = path.with_extension("new");
    let written = write_new(&new, &text).and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("the key cannot be kept in {}: {error}", path.display()),
            "make its directory writable, or make room on its disk",
        )
    })
}

/// Reads the token in `path`: its first line, without blanks around it.
pub(crate) fn token(path: &Path) -> Result<String, Failure> {
    let text = match read(path) {
        Ok(text) => text,
        Err(ReadingError::Refused(failure)) => return Err(failure),
        Err(ReadingError::Io(error)) => {
            return Err(Failure::new(
                Code::Failed,
                format!("the token file {} cannot be read: {error}", path.display()),
                "write a secret into it: `openssl rand -hex 32 > FILE; chmod 600 FILE`",
            ));
        }
    };
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(
            Code::Damaged,
            format!("the token file {} holds no token", path.display()),
            "its first line must be letters, digits and signs without blanks",
        ));
    }
    Ok(token.to_owned())
}

enum ReadingError {
    Io(io::Error),
    Refused(Failure),
}

impl From<io::Error> for ReadingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a file that only its owner may read.
fn read(path: &Path) -> Result<String, ReadingError> {
    let file = File::open(path)?;
    check_private(path, &file)?;
    let mut text = Vec::new();
    file.take(SECRET_FILE as u64).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(unix)]
fn check_private(path: &Path, file: &File) -> Result<(), ReadingError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(ReadingError::Refused(Failure::new(
        Code::Failed,
        format!("{} can be read by others (mode {mode:03o})", path.display()),
        format!("run `chmod 600 {}`", path.display()),
    )))
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &File) -> Result<(), ReadingError> {
    Ok(())
}

fn parse_key(path: &Path, text: &str) -> Result<[u8; 32], Failure> {
    let digits = text.trim();
    let key = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    key.and_then(|key| key.try_into().ok()).ok_or_else(|| {
        let problem = if digits.len() < 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            format!("is cut short: {} of 64 hexadecimal digits", digits.len())
        } else {
            "is no key: a key is 64 hexadecimal digits".to_owned()
        };
        Failure::new(
            Code::Damaged,
            format!("the key file {} {problem}", path.display()),
            "copy it again from another peer, or remove it to start a network of its own",
        )
    })
}

fn make_key(path: &Path) -> io::Result<()> {
    if let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        make_directory(directory)?;
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("new-{}-{nth}", std::process::id()));
    let text = format!("{}\n", HEXLOWER.encode(&random()?));
    let written =
        write_new(&temporary, &text).and_then(|()| match fs::hard_link(&temporary, path) {
            // Another peer was faster; its key is as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    // What cannot be removed does no harm; the error to tell is the first one.
    fs::remove_file(&temporary).unwrap_or_default();
    written
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Code::Failed,
        format!("the key file {} cannot be read: {error}", path.display()),
        "make it readable for this user alone, or name another: --key-file FILE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_at_the_same_time_has_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a").join("key");
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| key(&path).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|one| *one == keys[0]));
        assert_ne!(keys[0], [0; 32]);
        assert_eq!(key(&path).unwrap(), keys[0]);
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "temporary files were left");
    }

    #[test]
    fn a_key_that_is_damaged_or_open_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        key(&path).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for (text, says) in [
            (&whole[..40], "cut short"),
            ("zz", "no key"),
            ("", "cut short"),
        ] {
            fs::write(&path, text).unwrap();
            let failure = key(&path).unwrap_err();
            assert_eq!(failure.code, Code::Damaged);
            assert!(failure.message.contains(says), "{}", failure.message);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(key(&path).unwrap_err().hint.contains("chmod 600"));
        }
    }
}
