//! The conformance suite for [`PeerStore`](crate::store::PeerStore) and [`AdminStore`]: what its contract says, line by line, as checks that
//! anyone can run against a store of their own.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use mfagate::store::MemoryStore;
//!
//! mfagate::testing::store::conformance(|| async { MemoryStore::new() }).await;
//! # }
//! ```
//!
//! A check that fails panics at the line that says what should have been. It does not measure
//! speed, and it can't see whether an acknowledged change outlives a loss of power.

mod admission;
mod batch;
mod claims;
mod credentials;
mod durability;
mod enrolment;
mod exclusion;
mod factors;
mod failure;
mod fixture;
mod passes;
mod renewal;
mod replaced;
mod stress;
mod tokens;
mod trail;

use std::path::Path;
use std::sync::Arc;

use crate::store::AdminStore;

/// Runs every check, each on a fresh store that `fresh` makes: empty, and shared with no one.
///
/// Runs inside a tokio runtime; of one with several threads, the checks for races make more.
///
/// # Panics
/// When the store doesn't do what the contract says.
pub async fn conformance<S, F>(fresh: impl Fn() -> F)
where
    S: AdminStore,
    F: Future<Output = S>,
{
    macro_rules! run {
        ($($check:path),* $(,)?) => {
            $(
                let store: Arc<dyn AdminStore> = Arc::new(fresh().await);
                $check(store).await;
            )*
        };
    }
    run!(
        enrolment::users_and_peers_read_back,
        enrolment::a_user_is_changed_one_thing_at_a_time,
        enrolment::a_peer_or_factor_needs_a_known_user,
        enrolment::an_address_is_one_peers,
        enrolment::an_address_is_given_once_in_parallel,
        enrolment::factors_keep_their_order_and_their_ids,
        enrolment::an_enrolment_is_a_peer_with_its_owner_and_factors,
        enrolment::a_pending_factor_is_activated_once,
        enrolment::activation_keeps_to_the_limit,
        enrolment::a_removed_factor_is_gone,
        enrolment::resealing_is_a_compare_and_set,
        exclusion::nobody_is_added_by_being_disabled,
        exclusion::a_disabled_user_is_out_though_enabled_at_once,
        exclusion::a_user_put_disabled_is_out,
        exclusion::a_peer_that_is_disabled_or_given_away_is_out,
        factors::a_factor_is_renamed_suspended_and_resumed,
        factors::the_last_active_factor_stays,
        factors::removals_in_parallel_leave_the_last_factor,
        factors::a_changed_factor_ends_what_it_opened_when_removed,
        factors::a_changed_factor_ends_what_it_opened_when_suspended,
        factors::a_changed_factor_ends_what_it_opened_when_reset,
        tokens::tokens_read_back_until_they_are_taken_back,
        tokens::a_token_enrols_one_factor,
        tokens::a_token_is_good_for_its_user_its_kinds_and_its_time,
        tokens::a_token_is_used_once_in_parallel,
        tokens::an_enrolment_takes_what_was_passed,
        tokens::a_factor_takes_the_place_of_another_and_ends_what_that_opened,
        tokens::a_credential_is_enrolled_once,
        tokens::a_credential_is_enrolled_once_in_parallel,
        tokens::an_enrolment_needs_its_peer_and_new_ids,
        failure::failures_are_counted_up_to_the_lock,
        failure::a_locked_factor_does_not_count_further,
        failure::a_disabled_factor_waits_for_an_administrator,
        failure::parallel_failures_are_all_counted_or_refused,
        admission::an_admission_reads_back_as_it_was_given,
        admission::a_step_admits_once,
        admission::a_step_admits_once_in_parallel,
        admission::the_right_code_past_the_limit_is_refused,
        admission::success_clears_the_count_of_its_own_factor_only,
        admission::a_newer_session_supersedes_the_older,
        admission::who_is_disabled_or_gone_is_not_admitted,
        admission::a_factor_must_be_active_and_the_users_own,
        admission::a_refusal_of_one_factor_leaves_the_others_alone,
        admission::ids_and_factors_are_named_once,
        claims::a_secret_is_swapped_with_its_admission,
        claims::a_secret_is_swapped_once_in_parallel,
        claims::a_pending_factors_secret_is_swapped_as_it_is_activated,
        credentials::an_answer_sets_its_factors_credential_with_what_it_lets_in,
        credentials::a_credential_that_another_factor_has_counts_as_a_failure,
        credentials::a_credential_is_taken_after_all_that_is_wrong_with_a_factor,
        credentials::a_credential_is_given_once_in_parallel,
        claims::refusals_have_an_order_and_are_an_enrolments_too,
        claims::a_user_has_only_so_many_sessions,
        claims::a_user_has_only_so_many_sessions_in_parallel,
        passes::a_pass_takes_what_its_answer_takes_and_admits_nobody,
        passes::a_step_that_was_passed_is_spent_for_whatever_comes,
        passes::a_pass_keeps_to_the_limit_as_of_its_record,
        passes::a_pass_is_for_an_active_factor_of_an_enabled_peers_owner,
        passes::a_pass_whose_secret_was_changed_is_overtaken_and_not_counted,
        passes::what_was_passed_is_named_by_what_follows_and_judged_once_more,
        passes::a_step_is_passed_once_in_parallel,
        renewal::a_renewal_needs_the_generation_it_names,
        renewal::a_renewal_needs_an_enabled_peer_and_owner,
        renewal::parallel_renewals_of_one_generation_renew_once,
        renewal::a_session_is_closed_once,
        renewal::live_sessions_are_complete_and_of_their_location,
        trail::every_outcome_has_its_record,
        trail::what_changes_nothing_leaves_no_record,
        trail::the_trail_is_read_in_pages,
        trail::the_head_is_that_of_the_last_record,
        batch::many_are_put_in_one_transaction,
        batch::groups_among_many_leave_a_user_disabled,
        batch::one_fault_among_many_puts_none,
        trail::a_watcher_sees_every_change,
        trail::a_watcher_hears_of_sessions_that_ended_and_of_no_others,
        trail::a_watcher_starts_when_it_is_asked_for,
        stress::callers_at_once_leave_a_consistent_store,
    );
}

/// Runs every check of what outlives the store's owner: `open` opens the store at a path, which
/// is new at first and is opened again and again. `directory` must be there, and empty.
///
/// # Panics
/// When a store that was opened again doesn't hold what was acknowledged.
pub async fn durability<S, F>(directory: &Path, open: impl Fn(std::path::PathBuf) -> F)
where
    S: AdminStore,
    F: Future<Output = S>,
{
    let open = async |name: &str| -> Arc<dyn AdminStore> {
        let store: Arc<dyn AdminStore> = Arc::new(open(directory.join(name)).await);
        store
    };
    durability::everything_is_there_after_reopening(&open).await;
    durability::counts_and_steps_outlive_the_store(&open).await;
}

/// Runs every check of a store that is deleted, replaced or put back to an older copy while it is
/// open: `keep` takes a copy, and `put_back` does what is to be noticed, with that copy or without.
///
/// # Panics
/// When the store goes on as if it knew nothing of it.
pub async fn replaced(
    store: impl AdminStore,
    keep: impl AsyncFnOnce(),
    put_back: impl AsyncFnOnce(),
) {
    replaced::a_store_that_is_replaced_says_so_for_good(Arc::new(store), keep, put_back).await;
}

/// Runs every check of two stores that share their contents, as two processes do: `open_both`
/// opens the same fresh contents twice.
///
/// # Panics
/// When the two don't act as one.
pub async fn sharing<S, F>(open_both: impl Fn() -> F)
where
    S: AdminStore,
    F: Future<Output = (S, S)>,
{
    macro_rules! run {
        ($($check:path),* $(,)?) => {
            $(
                let (a, b) = open_both().await;
                let (a, b): (Arc<dyn AdminStore>, Arc<dyn AdminStore>) = (Arc::new(a), Arc::new(b));
                $check(a, b).await;
            )*
        };
    }
    run!(
        stress::two_stores_admit_a_step_once,
        claims::two_stores_swap_a_secret_once,
        claims::two_stores_keep_to_a_users_limit,
        tokens::two_stores_use_a_token_once,
        passes::two_stores_pass_a_step_once,
        stress::two_stores_write_one_chain,
        stress::a_watcher_sees_the_changes_of_the_other_store,
    );
}
