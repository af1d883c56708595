use super::*;

#[test]
fn finds_the_v2_mount_in_a_hybrid_tree() {
    let line = "36 25 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    let expected = (PathBuf::from("/sys/fs/cgroup/unified"), PathBuf::from("/"));
    assert_eq!(cgroup2_mount(line), Some(expected));
    let v1 = "37 25 0:32 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids";
    assert_eq!(cgroup2_mount(v1), None);
}

#[test]
fn tries_the_expected_level_first_and_then_the_others() {
    assert_eq!(
        candidates(Some(3)),
        [3, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    );
    assert_eq!(candidates(None).len(), 13);
}

#[test]
fn own_process_is_ours_and_init_is_not() {
    assert!(is_ours(std::process::id()));
    assert!(!is_ours(1));
    assert!(!is_ours(0));
}
