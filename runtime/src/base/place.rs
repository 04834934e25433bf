//! What a parked task waits for ([`Why`]), and the line of its `await` ([`Place`]).
//!
//! Both are small numbers, so that a task can keep them in atomics.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::Mutex;

use super::atomics::ignore_poison;

/// What a parked task waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Why {
    /// Not known: a future that is not the runtime's own returned `Pending`.
    #[default]
    Unknown,
    /// Until a source is readable.
    Read,
    /// Until a source is writable.
    Write,
    /// A deadline.
    Timer,
    /// The completion of another task.
    Join,
    /// A job on the thread pool.
    Offload,
    /// Only its next turn.
    Yield,
    /// A lock that another task holds.
    Lock,
}

impl Why {
    pub(crate) const ALL: [Why; 8] = [
        Why::Unknown,
        Why::Read,
        Why::Write,
        Why::Timer,
        Why::Join,
        Why::Offload,
        Why::Yield,
        Why::Lock,
    ];

    /// The reason whose number is `code`, as `why as u8` made it.
    pub(crate) fn from_code(code: u8) -> Why {
        Why::ALL.get(usize::from(code)).copied().unwrap_or(Why::Unknown)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Unknown => "something of its own",
            Why::Read => "read",
            Why::Write => "write",
            Why::Timer => "timer",
            Why::Join => "join",
            Why::Offload => "offload",
            Why::Yield => "yield",
            Why::Lock => "lock",
        })
    }
}

// ===== places ===================================================================================

/// A line of the program: where a task was spawned, or where it waits.
///
/// A small number, because a task keeps it in an atomic. The line itself is in a table that only
/// grows, by one row for each `await` of the program at which a task has ever waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place(u32);

/// The rows of the table with their numbers, for the whole process: a [`Place`] may be read on
/// another thread than the one that made it.
struct Places {
    rows: Vec<&'static Location<'static>>,
    /// By the line, not by its address: one line may have several addresses, in several crates.
    numbers: HashMap<&'static Location<'static>, u32>,
}

static PLACES: Mutex<Option<Places>> = Mutex::new(None);

/// How many of a thread's most recent places are found without locking the table.
const REMEMBERED: usize = 64;

thread_local! {
    /// A direct-mapped cache of address and number. A miss costs a lock and a hash; a hit, which is
    /// nearly every lookup, costs two loads.
    static RECENT: [Cell<(usize, u32)>; REMEMBERED] =
        const { [const { Cell::new((0, 0)) }; REMEMBERED] };
}

impl Place {
    /// A place that was not recorded.
    pub const UNKNOWN: Place = Place(0);
    /// The task waits through `AsyncRead`, which does not pass the line of the `await` on.
    pub const VIA_ASYNC_READ: Place = Place(1);
    /// The task waits through `AsyncWrite`, which does not pass the line of the `await` on.
    pub const VIA_ASYNC_WRITE: Place = Place(2);
    /// The number of the table's first row.
    const FIRST_ROW: u32 = 3;

    /// The place of `location`.
    pub fn of(location: &'static Location<'static>) -> Place {
        let address = std::ptr::from_ref(location).addr();
        // Locations are constants, aligned to eight bytes and close together.
        let slot = (address >> 3) % REMEMBERED;
        let remembered = RECENT.try_with(|recent| recent[slot].get());
        match remembered {
            Ok((known, number)) if known == address => Place(number),
            _ => Place::look_up(location, address, slot),
        }
    }

    #[cold]
    fn look_up(location: &'static Location<'static>, address: usize, slot: usize) -> Place {
        let mut table = ignore_poison(PLACES.lock());
        let table =
            table.get_or_insert_with(|| Places { rows: Vec::new(), numbers: HashMap::new() });
        let number = *table.numbers.entry(location).or_insert_with(|| {
            table.rows.push(location);
            Place::FIRST_ROW + (table.rows.len() - 1) as u32
        });
        let _ = RECENT.try_with(|recent| recent[slot].set((address, number)));
        Place(number)
    }

    /// The number, to be kept in an atomic.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The place that `number` was made from.
    pub(crate) fn from_number(number: u32) -> Place {
        Place(number)
    }

    /// The file and line, if the place is a known one.
    pub fn location(self) -> Option<&'static Location<'static>> {
        let row = self.0.checked_sub(Place::FIRST_ROW)? as usize;
        let table = ignore_poison(PLACES.lock());
        table.as_ref()?.rows.get(row).copied()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Place::VIA_ASYNC_READ => f.write_str("via AsyncRead"),
            Place::VIA_ASYNC_WRITE => f.write_str("via AsyncWrite"),
            place => match place.location() {
                Some(location) => write!(f, "{}:{}", short(location.file()), location.line()),
                None => f.write_str("an unknown place"),
            },
        }
    }
}

/// A source path as a reader knows it: relative to the workspace, and for a dependency starting
/// with the crate's own folder, without the path of the local registry.
pub(crate) fn short(file: &str) -> &str {
    for marker in ["/registry/src/", "/git/checkouts/", "/library/"] {
        if let Some(at) = file.find(marker) {
            let inside = &file[at + marker.len()..];
            return match (marker, inside.split_once('/')) {
                ("/library/", _) | (_, None) => inside,
                (_, Some((_, from_the_crate_on))) => from_the_crate_on,
            };
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_one_place_and_two_lines_are_two() {
        let first = Location::caller();
        let second = Location::caller();
        assert_eq!(Place::of(first), Place::of(first));
        assert_ne!(Place::of(first), Place::of(second));
        assert_eq!(Place::of(first).location(), Some(first));
    }

    #[test]
    fn a_place_made_on_one_thread_is_read_on_another() {
        let place = Place::of(Location::caller());
        let read = std::thread::spawn(move || place.to_string()).join().unwrap();
        assert_eq!(read, place.to_string());
        assert!(read.contains("place.rs:"), "{read}");
    }

    #[test]
    fn a_path_never_names_the_registry() {
        let registry =
            "/home/x/.cargo/registry/src/index.crates.io-1949cf8c/slab-0.4.12/src/lib.rs";
        assert_eq!(short(registry), "slab-0.4.12/src/lib.rs");
        assert_eq!(short("/rustc/abc/library/core/src/x.rs"), "core/src/x.rs");
        assert_eq!(short("demos/src/fib.rs"), "demos/src/fib.rs");
    }

    #[test]
    fn every_reason_survives_its_number() {
        for why in Why::ALL {
            assert_eq!(Why::from_code(why as u8), why);
        }
        assert_eq!(Why::from_code(255), Why::Unknown);
    }
}
