//! Invariant 8: persist, install, acknowledge; remove, persist, acknowledge. The process dies
//! between any two jobs of an admission, a renewal and a revocation, and starts again.

use std::time::Duration;

use super::fixtures::LAPTOP;
use super::world::World;
use crate::channel::message::Request;
use crate::gate::{Intent, Outcome, Scope};

/// Cuts `act` off at each point where it can be, with and without the effects of what is pending
/// there, and has the world after the crash checked for whether `act` had been acknowledged. That
/// the disk, the leases and the interface say the same then is for [`World::recover`] to check.
fn crash_everywhere<T>(
    prepare: impl Fn() -> World,
    act: impl Fn(&mut World) -> T,
    is_acknowledged: impl Fn(&World, &T) -> bool,
    check: impl Fn(&World, &T, bool),
) {
    let (mut jobs, mut is_complete) = (0, false);
    while !is_complete {
        for effects in [0, u64::MAX] {
            let mut world = prepare();
            let acted = act(&mut world);
            for _ in 0..jobs {
                world.run(0);
            }
            is_complete = world.pending.is_empty();
            let acknowledged = is_acknowledged(&world, &acted);
            assert!(acknowledged || !is_complete);
            for _ in 0..2 {
                world.crash_with(effects);
                world.recover();
                check(&world, &acted, acknowledged);
            }
        }
        jobs += 1;
    }
    assert!(jobs > 4, "it was cut off at several points");
}

fn admitted() -> World {
    let mut world = World::new();
    world.admit(LAPTOP);
    world.pass(Duration::from_secs(60));
    world
}

#[test]
fn invariant_8_an_acknowledged_admission_survives_a_crash() {
    crash_everywhere(
        World::new,
        |world| {
            let attempt = world.begin(LAPTOP);
            world.settle();
            world.answer_right(attempt);
            attempt
        },
        |world, attempt| world.reply_to(*attempt) == Some(&Outcome::Granted),
        |world, _, acknowledged| assert!(world.is_installed(LAPTOP) || !acknowledged),
    );
}

#[test]
fn invariant_8_an_acknowledged_renewal_survives_a_crash() {
    crash_everywhere(
        admitted,
        |world| {
            let attempt = world.hello(LAPTOP, Intent::Renew(world.session_of(LAPTOP)));
            world.settle();
            world.request(attempt, Request::Confirm {});
            (attempt, world.now.timestamp + world.policy.lease)
        },
        |world, (attempt, _)| world.reply_to(*attempt) == Some(&Outcome::Granted),
        |world, (_, not_after), acknowledged| {
            let terms = world.lease(LAPTOP).expect("the session").terms();
            assert!(terms.not_after == *not_after || !acknowledged);
            assert!(world.is_installed(LAPTOP));
        },
    );
}

#[test]
fn invariant_8_an_acknowledged_revocation_survives_every_crash() {
    crash_everywhere(
        admitted,
        |world| world.revoke(Scope::Peer(LAPTOP)),
        |world, ticket| world.revoked.contains_key(ticket),
        |world, _, acknowledged| assert!(!world.is_installed(LAPTOP) || !acknowledged),
    );
}
