//! That these tests notice what they are for: each fails with the bug that breaks it.

use super::{bytes, damage, directory, heirs, recycle, scrub, snapshots};
use quorate_core::bug::{Bug, plant};
use std::panic::catch_unwind;

pub(crate) fn fails(bug: Bug, test: fn()) {
    plant(Some(bug));
    let noticed = catch_unwind(test).is_err();
    plant(None);
    assert!(noticed, "nobody notices {}", bug.key());
    test();
}

#[test]
fn a_sync_error_that_is_ignored_is_noticed() {
    fails(Bug::NetSyncErrorIgnored, directory::a_failed_sync_is_final);
}

#[test]
fn damage_that_is_taken_for_a_write_that_was_cut_off_is_noticed() {
    fails(Bug::NetDamageTorn, damage::a_bit_that_changed_is_refused_everywhere_but_in_the_last_batch);
}

#[test]
fn what_was_in_a_file_before_and_counts_is_noticed() {
    fails(Bug::NetStaleCounts, bytes::a_record_at_another_place_does_not_verify);
}

#[test]
fn a_footer_that_is_left_out_or_not_compared_is_noticed() {
    fails(Bug::NetFooterLeftOut, recycle::a_segment_goes_on_until_the_next_one_is_ready);
    fails(Bug::NetFooterUnchecked, bytes::a_footer_that_says_something_else_than_the_segment_is_refused);
}

#[test]
fn a_segment_that_is_made_while_a_write_waits_is_noticed() {
    fails(Bug::NetSegmentInPlace, recycle::a_segment_goes_on_until_the_next_one_is_ready);
}

#[test]
fn a_scrub_that_reads_nothing_is_noticed() {
    fails(
        Bug::NetScrubReadsNothing,
        scrub::every_byte_of_what_is_cold_is_looked_at_and_none_of_what_is_written,
    );
}

#[test]
fn room_that_is_short_and_not_noticed_is_noticed() {
    fails(Bug::NetReserveIgnored, scrub::room_is_short_by_name_and_number);
    fails(Bug::NetQuotaIgnored, scrub::room_is_short_by_name_and_number);
}

#[test]
fn a_restored_cluster_with_the_id_of_the_old_one_is_noticed() {
    fails(Bug::NetRestoreKeepsCluster, heirs::all_members_of_a_restore_are_of_one_cluster_and_no_other);
}

#[test]
fn a_directory_of_another_that_is_taken_is_noticed() {
    fails(Bug::NetForeignTaken, directory::another_nodes_directory_is_refused);
}

#[test]
fn a_damaged_chunk_of_a_snapshot_that_is_taken_is_noticed() {
    fails(Bug::NetChunkUnchecked, snapshots::a_state_that_reads_only_a_part_still_needs_all_chunks_right);
}

#[test]
#[cfg(not(madsim))]
fn a_single_snapshot_is_noticed() {
    fails(Bug::NetOneSnapshot, directory::files::real_files_hold_what_was_written);
}

#[test]
fn a_recovery_that_counts_too_early_is_noticed() {
    fails(
        Bug::NetHeirEarly,
        heirs::a_crash_at_any_step_of_a_recovery_leaves_the_old_directory_or_the_new_one,
    );
}

#[test]
fn room_that_each_start_keeps_is_noticed() {
    fails(Bug::NetStartKeepsRoom, directory::starts_that_write_a_little_each_pile_up_no_room);
}
