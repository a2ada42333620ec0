//! What a process has in its memory, looked at from outside.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

const PAGE: usize = 4096;
/// How much is read at once.
const PIECE: usize = 256 * PAGE;

/// How often a secret is in a process's memory: where it is long enough to be told from chance, by
/// either half of it, since an allocator may write over the rest of a block that it got back.
pub(crate) fn copies(pid: u32, secret: &[u8]) -> usize {
    if secret.len() < 16 {
        return count(pid, &[secret]);
    }
    let (first, last) = secret.split_at(secret.len() / 2);
    count(pid, &[first, last])
}

fn count(pid: u32, parts: &[&[u8]]) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let longest = parts.iter().map(|part| part.len()).max().unwrap();
    let mut found = 0;
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let range = fields.next().unwrap();
        let may = fields.next().unwrap();
        if !may.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut at = from;
        while at < to {
            // A little more, for what lies across the end of a piece.
            let len = usize::try_from(to - at).unwrap().min(PIECE + longest - 1);
            let mut piece = vec![0; len];
            let read = memory.read_at(&mut piece, at).unwrap_or(0);
            piece.truncate(read);
            found += parts
                .iter()
                .map(|part| count_in(&piece, part, PIECE))
                .sum::<usize>();
            at += u64::try_from(PIECE).unwrap();
        }
    }
    found
}

/// How often a part begins in the first `within` bytes. Nearly all pages are empty.
fn count_in(piece: &[u8], part: &[u8], within: usize) -> usize {
    let mut found = 0;
    for start in (0..piece.len().min(within)).step_by(PAGE) {
        let end = piece.len().min(start + PAGE);
        if piece[start..end] == [0; PAGE][..end - start] {
            continue;
        }
        let page = &piece[start..piece.len().min(end + part.len() - 1)];
        let mut rest = page;
        while let Some(place) = rest.iter().position(|byte| *byte == part[0]) {
            rest = &rest[place..];
            found += usize::from(rest.starts_with(part));
            rest = &rest[1..];
        }
    }
    found
}

#[test]
fn what_a_process_holds_is_found_and_what_it_does_not_is_not() {
    let held = format!("{:032x}", fastrand::u128(..));
    let absent = format!("{:032x}", fastrand::u128(..));
    let mut sleeps = Command::new("sleep")
        .arg("60")
        .env("HELD", &held)
        .spawn()
        .unwrap();
    assert!(copies(sleeps.id(), held.as_bytes()) >= 2, "both halves");
    assert_eq!(copies(sleeps.id(), absent.as_bytes()), 0);
    sleeps.kill().unwrap();
    sleeps.wait().unwrap();
}
