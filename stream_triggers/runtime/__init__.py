"""Moves values between Kafka, RocksDB and the core, exactly once.

The protocol
============

::

      poll                    process                    commit                            apply
    ────────▶ records ──▶ core, overlay ─────────▶ outputs + changelog + positions ──▶ one write to the store
                              │                     (one Kafka transaction)              {claims, states, positions}
                              └── nothing outside memory has changed yet

A worker owns partitions of the input topics. It reads a batch, lets the core decide, and hands the records that
come out to its transactional producer at once. What has been decided, but not committed, lives in an overlay in
memory. The commit adds the changelog records of the overlay and the positions that the input has been read to, all in
the same transaction; afterwards the overlay is written to the store. So at every instant the log is the truth, and
the store is a copy of a prefix of it: it may lag, it never leads. Wherever the process dies, the next owner reads the
committed positions, brings its store up from the changelog, and goes on.

Triggers with memory or time take a second way round the same loop: the route stage writes facts to a topic whose
partitions a worker owns like those of the inputs, and the keyed stage (``runtime.keyed``) makes states and outputs of
them. States are in the overlay, the changelog and the store as claims are. Ticks and progress, which a worker writes
without any input, are in transactions that send the present positions.

A trigger that starts in the past reads what was there before it on its own, beside what is new (``runtime.lanes``).
What that makes, and how far it has come, is in transactions that send the present positions, too, so that the fence of
a partition is that of all its lanes.

The rules
=========

Each has a test of its name, ``test_rule_NN_…``, that fails when the rule is switched off.

 1. *One transactional producer per worker, named by its slot.* A successor under the same name ends what the
    predecessor left open at once, instead of after the broker's timeout.
 2. *Order of a commit*: overlay, outputs and changelog, positions, commit, one write to the store. Never earlier.
 3. *The store may lag, never lead.* It is written with its log on and without waiting for the disk: a crash of the
    process loses nothing, a crash of the machine makes it lag, and no crash needs a wipe.
 4. *Revoked is not lost.* While ``revoked`` runs the partitions are ours: commit. When ``lost`` runs they are somebody
    else's: drop the transaction, the overlay and the producer.
 5. *Positions are fenced by the membership of the generation that read them*, taken when partitions were assigned, not
    when committing; a membership without a generation or a member id is refused, since a broker accepts it unfenced.
 6. *Every position belongs to a partition owned now*, and every output stems from one. Records that were fetched
    before a partition changed hands, or was started again, are dropped.
 7. *Every transaction sends positions*, also one without input: without them it would not be fenced.
 8. *An unknown outcome is not guessed.* The producer is given up; a new one under the same name makes the broker settle
    the transaction, and then the committed positions say what became of it.
 9. *An abort waits for the first acknowledgement, within a bound*; a producer that fails fatally is replaced.
10. *A restore ends at a position, not at a record*: the high watermark taken after the committed position was known,
    reached by reading committed records only.
11. *The overlay is bounded in bytes*: a full one commits early.
12. *Ids are derived from their cause.* Should Kafka's guarantee ever fail, a consumer can drop the repeat by its id.

What has caused bugs
====================

* Records already fetched when a partition goes back to an earlier position must not be taken for the next ones: the
  worker drops them before a partition is started again, in that order:
  ``test_rule_06_records_that_were_fetched_before_going_back_are_not_taken_for_the_next``.
* A definition applied before a message was sent must be in force when the message is processed: the table is read to
  its end after a batch was polled, not before: ``test_a_trigger_applied_before_a_message_was_sent_fires_for_it``.
* What triggers catch up with is claimed while the position of the partition stays where it is: a changelog key that is
  made of the position alone repeats, and compaction loses claims. It has a hash of the value:
  ``test_every_transaction_has_its_own_claims_record_though_the_live_place_stays``.
* A trigger that has caught up must not begin again when its partition changes hands: how far it has come is read, to
  where that ended after the last transaction of the owner before, before the partition is processed:
  ``test_a_new_owner_does_not_go_on_before_it_knows_how_far_the_lanes_have_come``.
* A producer is fenced by its own timed-out transaction as well as by a second worker of its name. The worker pauses
  before it opens the next one, until its member would have been told of the second:
  ``test_a_transaction_open_beyond_its_timeout_is_made_again_after_a_pause``,
  ``test_after_a_fence_the_next_producer_waits``.
"""
