//! The states and the timing of an entry, by table and at random.

use proptest::prelude::*;

use super::*;

const NOW: Moment = Moment {
    boot: Duration::from_hours(1),
    wall: Duration::from_hours(10),
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(offset: u64) -> Moment {
    Moment {
        boot: NOW.boot + seconds(offset),
        wall: NOW.wall + seconds(offset),
    }
}

fn life(left: u64) -> Life {
    Life {
        expires: NOW.after(seconds(left)),
        floor: seconds(30),
    }
}

fn retry(after: u64, terminal: bool) -> Retry {
    Retry {
        at: NOW.after(seconds(after)),
        attempts: 1,
        terminal,
        credential: 7,
    }
}

fn fresh(left: u64, refresh_in: u64) -> State {
    State::Fresh {
        life: life(left),
        refresh_at: NOW.after(seconds(refresh_in)),
    }
}

fn due(left: u64) -> State {
    State::Due { life: life(left) }
}

fn stale(left: u64, retry: Retry) -> State {
    let life = life(left);
    State::Stale { life, retry }
}

fn failed(retry: Retry) -> State {
    State::Failed { retry }
}

fn refused(retry: Retry) -> State {
    State::Refused { retry }
}

fn spent() -> State {
    State::Spent {
        again_at: NOW.after(SPENT_GAP),
    }
}

fn transitions(rows: &[(State, Event, State)]) {
    for (state, event, next) in rows {
        assert_eq!(state.step(*event, NOW), *next, "{state:?} on {event:?}");
    }
}

#[test]
fn time_moves_every_state_as_the_table_says() {
    let (soon, never) = (retry(10, false), retry(60, true));
    let look = Event::Look;
    transitions(&[
        (State::Empty, look, State::Empty),
        (fresh(600, 1), look, fresh(600, 1)),
        (fresh(600, 0), look, due(600)),
        (fresh(30, 0), look, State::Empty),
        (fresh(30, 20), look, State::Empty),
        (due(31), look, due(31)),
        (due(30), look, State::Empty),
        (stale(31, soon), look, stale(31, soon)),
        (stale(30, soon), look, failed(soon)),
        (stale(30, never), look, refused(never)),
        (failed(soon), look, failed(soon)),
        (refused(never), look, refused(never)),
        (spent(), look, spent()),
    ]);
}

#[test]
fn every_event_moves_every_state_as_the_table_says() {
    let (soon, never) = (retry(10, false), retry(60, true));
    let issued = Event::Issued {
        life: life(900),
        refresh_at: NOW.after(seconds(800)),
    };
    transitions(&[
        (State::Empty, issued, fresh(900, 800)),
        (stale(40, never), issued, fresh(900, 800)),
        (refused(never), issued, fresh(900, 800)),
        (State::Empty, Event::Failed(soon), failed(soon)),
        (State::Empty, Event::Failed(never), refused(never)),
        (due(60), Event::Failed(soon), stale(60, soon)),
        (due(60), Event::Failed(never), stale(60, never)),
        (due(20), Event::Failed(soon), failed(soon)),
        (fresh(600, 500), Event::Failed(soon), stale(600, soon)),
        (State::Empty, Event::Spent, spent()),
        (due(100), Event::Spent, fresh(100, 50)),
        (fresh(600, 500), Event::Dropped, State::Empty),
        (stale(60, soon), Event::Dropped, failed(soon)),
        (refused(never), Event::Dropped, refused(never)),
        (spent(), Event::Dropped, spent()),
    ]);
}

#[test]
fn every_state_plans_as_the_table_says() {
    let retry_in = seconds(60);
    let (refused, stale) = (refused(retry(60, true)), stale(200, retry(60, true)));
    for (state, now, credential, plan) in [
        (State::Empty, NOW, 7, Plan::Ask),
        (fresh(600, 500), NOW, 7, Plan::Serve),
        (State::Due { life: life(60) }, NOW, 7, Plan::Renew),
        (stale, NOW, 7, Plan::ServeStale { retry_in }),
        (stale, at(60), 7, Plan::Renew),
        (stale, NOW, 8, Plan::Renew),
        (refused, NOW, 7, Plan::Deny { retry_in }),
        (refused, at(60), 7, Plan::Ask),
        (refused, NOW, 8, Plan::Ask),
    ] {
        assert_eq!(state.plan(now, credential), plan, "{state:?}");
    }
}

fn terms(lifetime: u64) -> Terms {
    Terms {
        sent: NOW,
        lifetime: seconds(lifetime),
        expires: NOW.after(seconds(lifetime)),
        refresh_in: None,
        same: false,
        no_gain: false,
    }
}

#[test]
fn the_buffer_is_a_fifth_up_to_five_minutes_and_jitter_only_widens_it() {
    for (lifetime, latest, earliest, floor) in [
        (3600, 3_300_000, 3_270_000, 30_000),
        (60, 48_000, 46_800, 6_000),
        (600, 480_000, 468_000, 30_000),
        (10, 8_000, 7_800, 1_000),
        (86_400, 86_100_000, 86_070_000, 30_000),
    ] {
        for (roll, due) in [(Roll::LEAST, latest), (Roll::MOST, earliest)] {
            let (life, refresh_at) = timing(&terms(lifetime), NOW, roll);
            assert_eq!(refresh_at.left(NOW).as_millis(), due, "{lifetime} s");
            assert_eq!(life.floor.as_millis(), floor, "{lifetime} s");
        }
    }
}

#[test]
fn the_issuer_may_say_when_and_cannot_make_us_ask_all_the_time() {
    // Not later than without the hint: after the floor there would be nothing left to renew.
    for (wanted, due) in [(1800, 1800), (0, 60), (7, 60), (3590, 3300), (10_000, 3300)] {
        let terms = Terms {
            refresh_in: Some(seconds(wanted)),
            ..terms(3600)
        };
        assert_eq!(
            timing(&terms, NOW, Roll::LEAST).1,
            NOW.after(seconds(due)),
            "{wanted} s"
        );
    }
}

#[test]
fn an_answer_without_gain_is_asked_for_again_after_half_of_what_is_left() {
    for (left, pause) in [(300, 150), (8, 5), (2, 5)] {
        let terms = Terms {
            same: true,
            no_gain: true,
            ..terms(left)
        };
        let (life, refresh_at) = timing(&terms, NOW, Roll::new(500));
        assert_eq!(refresh_at, NOW.after(seconds(pause)));
        assert_eq!(life.floor, Duration::ZERO);
    }
}

#[test]
fn failures_pause_with_full_jitter_or_as_long_as_the_issuer_asks() {
    let transient = |retry_after| Verdict::Transient { retry_after };
    let minute = seconds(60);
    for (verdict, attempts, roll, expected) in [
        (Verdict::Terminal, 1, Roll::LEAST, 60_000),
        (transient(None), 1, Roll::MOST, 1_000),
        (transient(None), 1, Roll::LEAST, 100),
        (transient(None), 4, Roll::new(500), 4_000),
        (transient(None), u32::MAX, Roll::MOST, 60_000),
        (transient(Some(seconds(90))), 1, Roll::MOST, 90_000),
        (transient(Some(seconds(90_000))), 1, Roll::MOST, 3_600_000),
    ] {
        assert_eq!(pause(verdict, attempts, minute, roll).as_millis(), expected);
    }
}

proptest! {
    #[test]
    fn no_answer_of_an_issuer_breaks_the_arithmetic(
        lifetime in any::<u64>(), refresh_in in proptest::option::of(any::<u64>()),
        no_gain in any::<bool>(), roll in 0..=Roll::STEPS,
    ) {
        let terms = Terms {
            refresh_in: refresh_in.map(seconds),
            no_gain,
            lifetime: seconds(lifetime),
            expires: NOW.after(seconds(lifetime)),
            ..terms(0)
        };
        let (life, refresh_at) = timing(&terms, NOW, Roll::new(roll));
        prop_assert!(life.floor <= FLOOR_MOST);
        if !no_gain {
            prop_assert!(refresh_at.left(NOW) <= seconds(lifetime));
        }
    }

    #[test]
    fn whatever_happens_nothing_is_served_past_its_floor(
        events in proptest::collection::vec((0_u64..4000, 0_u8..5), 1..40),
    ) {
        let (mut state, mut offset) = (State::Empty, 0);
        for (pause, event) in events {
            offset += pause / 10;
            let now = at(offset);
            let event = match event {
                0 => Event::Issued {
                    life: Life { expires: now.after(seconds(pause)), floor: seconds(pause / 10) },
                    refresh_at: now.after(seconds(pause / 2)),
                },
                1 => Event::Failed(Retry { at: now.after(seconds(10)), ..retry(0, pause % 2 == 0) }),
                2 => Event::Spent,
                3 => Event::Dropped,
                _ => Event::Look,
            };
            state = state.step(event, now).step(Event::Look, now);
            let held = state.life();
            prop_assert!(held.is_none_or(|life| life.serves(now)), "{state:?}");
            let serves = matches!(
                state.plan(now, 7), Plan::Serve | Plan::Renew | Plan::ServeStale { .. }
            );
            prop_assert_eq!(serves, held.is_some());
        }
    }
}
