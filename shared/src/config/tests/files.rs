//! Which file is used, and what is said about files that cannot be.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::*;
use super::shown;

/// Two empty directories, and their names as `load` wants them.
fn directories() -> (TempDir, ConfigDirs) {
    let root = TempDir::new().unwrap();
    let (user, stock) = (root.path().join("user"), root.path().join("stock"));
    fs::create_dir(&user).unwrap();
    fs::create_dir(&stock).unwrap();
    (root, ConfigDirs { user: Some(user), stock: Some(stock) })
}

fn write(dir: &Option<PathBuf>, name: &str, update_every: u32) -> PathBuf {
    let file = dir.as_ref().unwrap().join(name);
    fs::write(&file, format!("[global]\nupdate every = {update_every}\n")).unwrap();
    file
}

#[test]
fn one_file_is_used_and_the_users_first() {
    let (_root, dirs) = directories();
    write(&dirs.stock, "ebpf.d.conf", 9);
    assert_eq!(load(&dirs).config.update_every_s, None, "Netdata's own stock file is not ours");
    write(&dirs.stock, "ebpf.conf", 1);
    assert_eq!(load(&dirs).config.update_every_s, Some(1));
    write(&dirs.user, "ebpf.d.conf", 2);
    assert_eq!(load(&dirs).config.update_every_s, Some(2));
    let file = write(&dirs.user, "ebpf.conf", 3);
    let loaded = load(&dirs);
    assert_eq!((loaded.config.update_every_s, &loaded.file), (Some(3), &Some(file.clone())));
    let origin = Origin::File { file, line: 2 };
    assert!(loaded.values.iter().any(|value| value.key == "update every" && value.origin == origin));
}

#[test]
fn files_are_not_merged() {
    let (_root, dirs) = directories();
    write(&dirs.stock, "ebpf.conf", 1);
    fs::write(dirs.user.as_ref().unwrap().join("ebpf.conf"), "").unwrap();
    let loaded = load(&dirs);
    assert_eq!(loaded.config, Config::default());
    assert!(shown(&loaded)[0].ends_with("ebpf.conf: contains no options; all options have their defaults"));
}

#[test]
fn without_a_file_there_are_defaults() {
    let expected =
        "Info ebpf.conf: not found in any configuration directory; all options have their defaults";
    let (_root, dirs) = directories();
    for dirs in [dirs, ConfigDirs::default()] {
        let loaded = load(&dirs);
        assert_eq!((loaded.file.as_ref(), &loaded.config), (None, &Config::default()));
        assert_eq!(shown(&loaded), [expected]);
    }
}

#[test]
fn what_is_no_file_is_an_error_and_the_stock_file_is_used() {
    let (_root, dirs) = directories();
    write(&dirs.stock, "ebpf.conf", 7);
    let place = dirs.user.as_ref().unwrap().join("ebpf.conf");
    fs::create_dir(&place).unwrap();
    let loaded = load(&dirs);
    assert_eq!(loaded.config.update_every_s, Some(7));
    assert_eq!(
        shown(&loaded),
        [format!(
            "Error {}: exists but cannot be read: it is a directory; the stock file or the defaults are \
             used. Make it a file that the user of the plugin may read",
            place.display()
        )]
    );
    fs::remove_dir(&place).unwrap();
    let _socket = UnixListener::bind(&place).unwrap();
    assert!(shown(&load(&dirs))[0].contains("it is a device, pipe or socket"));
    fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &place).unwrap();
    assert!(shown(&load(&dirs))[0].contains("it is a device, pipe or socket"));
    // A link to itself stands for every other failure of the system; permissions do not stop a test run by
    // root.
    fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink(&place, &place).unwrap();
    let loaded = load(&dirs);
    assert!(shown(&loaded)[0].starts_with("Error "), "{:?}", shown(&loaded));
    assert_eq!(loaded.config.update_every_s, Some(7));
}

#[test]
fn a_huge_file_is_read_up_to_its_bound() {
    let (_root, dirs) = directories();
    let place = dirs.user.as_ref().unwrap().join("ebpf.conf");
    let mut text = String::from("[global]\nupdate every = 4\n");
    // The option at the bound is cut in the middle of its number and must not be taken.
    text.push_str(&"#".repeat((1 << 20) - text.len() - "\npid table size = 10".len()));
    text.push_str("\npid table size = 1000\n");
    text.push_str(&"junk\n".repeat(10_000_000));
    fs::write(&place, &text).unwrap();
    let loaded = load(&dirs);
    assert_eq!((loaded.config.update_every_s, loaded.config.pid_table_size), (Some(4), 32_768));
    let bytes = text.len();
    assert_eq!(
        shown(&loaded),
        [format!(
            "Warning {}: has {bytes} bytes; only the whole lines within the first 1048576 are used",
            place.display()
        )]
    );
}
