//! Hardening of the process, before it has a second thread.
//!
//! Owns [`shield()`], which every command calls first; [`harden()`], which permanently removes what the daemon will not need
//! again (core dumps, inspection by other processes, privileges, capabilities, proxy variables); and [`verify`], which asks the
//! kernel which protections hold. A successful call is not enough: [`harden()`] reads every protection back, for every thread.
//! Fails closed: if a required protection does not hold, that is an error, and the daemon does not start.
//!
//! [`harden()`] runs after the configuration and credentials are read and the sockets are bound, and before the runtime starts: most
//! protections are per thread, and a thread that already runs would keep its privileges. A process that is not dumpable can no
//! longer read `/proc/self/environ`, write `oom_score_adj` or reopen a descriptor through `/proc/self/fd`.

use std::ffi::OsStr;
use std::{env, fmt, fs, io};

use caps::{CapSet, Capability};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior,
    setrlimit,
};
use rustix::thread::set_no_new_privs;

use super::status::{Status, cgroup_mount};

const CORE_DUMPS: &str = "no core dumps";
const DUMPABLE: &str = "not dumpable";
const NO_NEW_PRIVILEGES: &str = "no new privileges";
const CAPABILITIES: &str = "no capabilities";
const BOUNDING: &str = "empty bounding set";
const PROXY: &str = "no proxy variables";
const SWAP: &str = "no swap";

/// One protection, as reported by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Its name, for messages.
    pub name: &'static str,
    /// Whether it holds, for every thread.
    pub holds: bool,
    /// The observed state, and the remedy if any.
    pub detail: String,
}

/// All protections of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they are applied.
    pub protections: Vec<Protection>,
}

impl Report {
    /// The protections that do not hold.
    pub fn missing(&self) -> impl Iterator<Item = &Protection> {
        self.protections
            .iter()
            .filter(|protection| !protection.holds)
    }
}

/// One line for each protection.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Protection {
            name,
            holds,
            detail,
        } in &self.protections
        {
            let holds = if *holds { "yes" } else { "NO" };
            writeln!(f, "{name}: {holds} ({detail})")?;
        }
        Ok(())
    }
}

/// Why the process is not hardened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are other threads, which would keep their privileges.
    #[error(
        "the process already has {threads} threads; it must be hardened before the runtime starts any"
    )]
    Threads {
        /// Their number, this one included.
        threads: usize,
    },
    /// `/proc` could not be read.
    #[error("cannot read back the state of the process; mount /proc")]
    Proc(#[source] io::Error),
    /// A system call of the hardening failed.
    #[error("a step of the hardening failed: {step}")]
    Refused {
        /// What was attempted.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A set of capabilities could not be cleared.
    #[error("cannot clear the {set} capabilities")]
    Capabilities {
        /// Which set.
        set: &'static str,
        /// The kernel's answer.
        #[source]
        source: caps::errors::CapsError,
    },
    /// Every step succeeded, but a required protection does not hold.
    #[error("the process is not protected as it must be: {name}: {detail}")]
    NotHeld {
        /// Which one.
        name: &'static str,
        /// What was read instead.
        detail: String,
    },
}

/// How often the threads are listed before other threads count as running; this takes a few milliseconds.
const LOOKS: u32 = 200;

/// Permanently forbids core dumps, inspection by other processes of the same user, and new privileges. Every command holds
/// secrets at some time, so each begins with this.
///
/// # Errors
/// [`Error::Refused`]; the process must exit.
pub fn shield() -> Result<(), Error> {
    let refused = |step| {
        move |error: rustix::io::Errno| Error::Refused {
            step,
            source: error.into(),
        }
    };
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(refused(CORE_DUMPS))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused(DUMPABLE))?;
    set_no_new_privs(true).map_err(refused(NO_NEW_PRIVILEGES))
}

/// Hardens the process permanently, and reports which protections hold.
///
/// # Errors
/// See [`Error`]. After an error the process may be partly hardened, and must exit.
pub fn harden() -> Result<Report, Error> {
    let had = only_thread()?;
    let may_bound = had.effective & Capability::CAP_SETPCAP.bitmask() != 0;

    remove_proxy_variables();
    shield()?;
    // The bounding set goes first: once the effective set is empty, the process may not change it.
    if may_bound {
        clear("bounding", CapSet::Bounding)?;
    }
    // If a service manager has left no capabilities, its filter may deny even these calls.
    if had.capabilities != 0 {
        clear("ambient", CapSet::Ambient)?;
        clear("inheritable", CapSet::Inheritable)?;
        clear("effective", CapSet::Effective)?;
        clear("permitted", CapSet::Permitted)?;
    }

    let report = verify();
    require(&report, may_bound)?;
    Ok(report)
}

/// Fails unless every protection holds that the process can give itself. Swap, and without `may_bound` the bounding set, are up
/// to the service manager: the report says if they are missing, and the process starts.
fn require(report: &Report, may_bound: bool) -> Result<(), Error> {
    let required = |name| match name {
        BOUNDING => may_bound,
        SWAP => false,
        _ => true,
    };
    match report.missing().find(|missing| required(missing.name)) {
        Some(missing) => Err(Error::NotHeld {
            name: missing.name,
            detail: missing.detail.clone(),
        }),
        None => Ok(()),
    }
}

/// Asks the kernel which protections hold now. A protection that cannot be read counts as missing.
pub fn verify() -> Report {
    let mut protections = vec![core_dumps(), dumpable()];
    match Status::of_all_threads() {
        Ok(threads) => protections.extend([
            every(NO_NEW_PRIVILEGES, &threads, |status| {
                status.no_new_privileges
            }),
            every(CAPABILITIES, &threads, |status| status.capabilities == 0),
            bounding(&threads),
            swap(&threads),
        ]),
        Err(error) => protections.extend([NO_NEW_PRIVILEGES, CAPABILITIES, BOUNDING, SWAP].map(
            |name| Protection {
                name,
                holds: false,
                detail: format!("/proc/self/task cannot be read: {error}"),
            },
        )),
    }
    protections.push(proxy());
    Report { protections }
}

fn clear(set: &'static str, kind: CapSet) -> Result<(), Error> {
    caps::clear(None, kind).map_err(|source| Error::Capabilities { set, source })
}

/// Whether a variable redirects requests through a proxy, or writes TLS session keys to a file.
fn is_treacherous(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let proxy = name.rsplit_once('_').is_some_and(|(what, proxy)| {
        proxy.eq_ignore_ascii_case("proxy")
            && ["http", "https", "all", "no", "ftp", "socks"]
                .iter()
                .any(|known| what.eq_ignore_ascii_case(known))
    });
    proxy || name.eq_ignore_ascii_case("sslkeylogfile")
}

fn remove_proxy_variables() {
    for (name, _) in env::vars_os().filter(|(name, _)| is_treacherous(name)) {
        // SAFETY: `harden` has checked that this is the only thread, so no other thread reads the environment.
        #[expect(unsafe_code, reason = "the environment belongs to all threads")]
        unsafe {
            env::remove_var(name);
        }
    }
}

fn proxy() -> Protection {
    let left = env::vars_os()
        .filter(|(name, _)| is_treacherous(name))
        .count();
    Protection {
        name: PROXY,
        holds: left == 0,
        detail: format!("{left} such variables in the environment"),
    }
}

fn core_dumps() -> Protection {
    let limit = getrlimit(Resource::Core);
    let show = |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
    Protection {
        name: CORE_DUMPS,
        holds: limit.current == Some(0) && limit.maximum == Some(0),
        detail: format!(
            "core size limit {}, at most {}",
            show(limit.current),
            show(limit.maximum)
        ),
    }
}

fn dumpable() -> Protection {
    let behavior = dumpable_behavior();
    Protection {
        name: DUMPABLE,
        holds: matches!(behavior, Ok(DumpableBehavior::NotDumpable)),
        detail: match behavior {
            Ok(DumpableBehavior::NotDumpable) => "only root can inspect the process".to_owned(),
            Ok(_) => "processes of the same user can inspect the process".to_owned(),
            Err(error) => error.to_string(),
        },
    }
}

/// The status of the only thread.
///
/// # Errors
/// [`Error::Threads`] if there are other threads, [`Error::Proc`].
fn only_thread() -> Result<Status, Error> {
    let mut looks = 0;
    loop {
        let threads = Status::of_all_threads().map_err(Error::Proc)?;
        if let [status] = threads.as_slice() {
            return Ok(*status);
        }
        looks += 1;
        if looks == LOOKS {
            return Err(Error::Threads {
                threads: threads.len(),
            });
        }
        // The kernel may list a thread for a moment after it was joined.
        rustix::thread::sched_yield();
    }
}

/// A protection that is per thread.
fn every(name: &'static str, threads: &[Status], holds: fn(&Status) -> bool) -> Protection {
    let held = threads.iter().filter(|status| holds(status)).count();
    Protection {
        name,
        holds: held == threads.len(),
        detail: format!("{held} of {} threads", threads.len()),
    }
}

fn bounding(threads: &[Status]) -> Protection {
    let mut protection = every(BOUNDING, threads, |status| status.bounding == 0);
    if !protection.holds {
        protection.detail.push_str(
            "; run claviger with the shipped unit, because an unprivileged process cannot clear it",
        );
    }
    protection
}

fn swap(threads: &[Status]) -> Protection {
    let swapped = threads
        .iter()
        .map(|status| status.swapped)
        .max()
        .unwrap_or(0);
    let impossible = swap_is_impossible();
    Protection {
        name: SWAP,
        holds: swapped == 0 && impossible.is_some(),
        detail: match impossible {
            Some(why) => format!("{why}; {swapped} KiB swapped out"),
            None => format!(
                "the host swaps, and {swapped} KiB are swapped out; set MemorySwapMax=0 in the unit"
            ),
        },
    }
}

/// Why this process cannot be swapped out, or `None` if it can.
fn swap_is_impossible() -> Option<&'static str> {
    // A header line, then one line per device or file.
    if fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() <= 1) {
        return Some("the host has no swap");
    }
    let mount = cgroup_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = fs::read_to_string(mount.join(path).join("memory.swap.max")).ok()?;
    (limit.trim() == "0").then_some("the cgroup forbids swap")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_variables_are_recognized_in_any_case() {
        for (name, treacherous) in [
            ("HTTP_PROXY", true),
            ("http_proxy", true),
            ("Https_Proxy", true),
            ("ALL_PROXY", true),
            ("no_proxy", true),
            ("FTP_PROXY", true),
            ("socks_proxy", true),
            ("SSLKEYLOGFILE", true),
            ("PROXY", false),
            ("MY_HTTP_PROXY", false),
            ("HTTP_PROXY_X", false),
            ("PATH", false),
            ("", false),
        ] {
            assert_eq!(is_treacherous(OsStr::new(name)), treacherous, "{name}");
        }
    }

    #[test]
    fn a_process_with_threads_is_rejected_and_unchanged() {
        // Each test runs in its own thread, beside the main thread.
        let error = harden().unwrap_err();
        assert!(matches!(error, Error::Threads { threads } if threads >= 2));
        assert!(error.to_string().contains("before the runtime"), "{error}");
        let report = verify();
        assert!(
            report.missing().any(|missing| missing.name == DUMPABLE),
            "control for the tests that harden a child:\n{report}"
        );
    }

    #[test]
    fn a_protection_that_the_process_can_give_itself_is_required() {
        for (name, may_bound, required) in [
            (CORE_DUMPS, false, true),
            (CAPABILITIES, false, true),
            (BOUNDING, true, true),
            (BOUNDING, false, false),
            (SWAP, true, false),
        ] {
            let report = Report {
                protections: vec![Protection {
                    name,
                    holds: false,
                    detail: "0 of 1 threads".to_owned(),
                }],
            };
            let outcome = require(&report, may_bound);
            assert_eq!(outcome.is_err(), required, "{name} {outcome:?}");
        }
    }

    #[test]
    fn a_protection_holds_only_if_every_thread_has_it() {
        let hardened = Status {
            no_new_privileges: true,
            capabilities: 0,
            effective: 0,
            bounding: 0,
            swapped: 0,
        };
        let bare = Status {
            no_new_privileges: false,
            ..hardened
        };
        let holds = |threads: &[Status]| {
            every(NO_NEW_PRIVILEGES, threads, |status| {
                status.no_new_privileges
            })
        };
        assert!(holds(&[hardened, hardened]).holds);
        let protection = holds(&[hardened, bare]);
        assert!(!protection.holds);
        assert_eq!(protection.detail, "1 of 2 threads");
    }

    #[test]
    fn a_process_that_is_swapped_out_is_not_protected() {
        let status = Status {
            no_new_privileges: true,
            capabilities: 0,
            effective: 0,
            bounding: 0,
            swapped: 4,
        };
        let protection = swap(&[status]);
        assert!(!protection.holds && protection.detail.contains("4 KiB"));
        assert!(!bounding(&[status]).detail.contains("unit"));
        let full = Status {
            bounding: 1,
            ..status
        };
        let protection = bounding(&[full]);
        assert!(!protection.holds && protection.detail.contains("unit"));
    }
}
