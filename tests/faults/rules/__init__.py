"""The invariants of orders and money, each a small function that answers with the sentences it has to say.

A rule sees the exchange's own book and our tables, by SQL of its own, and nothing of the code that wrote them. The
numbers are those of the list of invariants; a rule that only holds at rest (no fault, nothing on its way) says so by
standing in `AT_REST`.
"""

from __future__ import annotations

from tests.faults.rules.claims import (
    i01_each_venue_order_is_one_claim,
    i02_no_two_venue_orders_for_one_step,
    i03_nothing_was_sent_before_its_claim,
)
from tests.faults.rules.events import (
    i16_each_bar_is_processed_once,
    i16_each_fill_is_told_once,
    i16_events_tell_what_the_tables_say_of_orders,
    i17_each_intent_is_accepted_once,
    i17_each_order_belongs_to_an_intent,
    i18_at_rest_each_frame_is_applied,
    i18_each_applied_trade_frame_is_booked,
)
from tests.faults.rules.look import Rule as Rule
from tests.faults.rules.money import (
    i07_each_transaction_balances,
    i08_books_are_what_the_ledger_says,
    i08_nothing_a_deployment_owns_is_below_zero,
    i08_positions_are_what_the_ledger_says,
    i09_at_rest_the_ledger_is_what_the_exchange_holds,
    i10_a_reservation_lives_as_long_as_its_order,
    i10_reservations_are_what_the_ledger_holds,
)
from tests.faults.rules.permission import (
    i13_claims_follow_the_lease,
    i13_nothing_is_claimed_behind_a_halt,
    i13_nothing_is_claimed_while_the_account_is_not_ready,
    i19_the_exchange_was_not_asked_too_often,
)
from tests.faults.rules.quantities import (
    i04_filled_never_falls,
    i04_filled_stays_within_what_was_ordered,
    i05_at_rest_an_order_has_what_the_exchange_filled,
    i05_fills_sum_to_what_an_order_traded,
    i06_at_rest_each_trade_of_the_exchange_is_booked,
    i06_each_fill_is_a_trade_of_the_exchange,
    i06_each_fill_is_booked_by_one_transaction,
)
from tests.faults.rules.risk import (
    i14_a_loss_beyond_its_limit_is_latched,
    i14_exposure_stays_within_its_multiple_of_equity,
    i14_no_more_orders_are_made_in_a_minute_than_may_be,
    i14_no_more_orders_are_open_than_may_be,
    i14_no_order_is_above_its_limit,
    i14_no_position_may_outgrow_its_limit,
    i15_no_position_is_flipped,
)
from tests.faults.rules.states import (
    at_rest_nothing_is_left_to_do,
    i11_an_ended_order_stays_ended,
    i11_no_step_leads_out_of_an_end,
    i12_at_rest_no_fate_is_unknown,
    i12_no_fate_is_unknown_for_long,
    i21_each_transition_is_on_record,
)
from tests.faults.rules.writing import (
    i20_no_secret_is_written_down,
    i22_money_is_never_a_float,
)

ALWAYS: tuple[Rule, ...] = (
    i01_each_venue_order_is_one_claim,
    i02_no_two_venue_orders_for_one_step,
    i03_nothing_was_sent_before_its_claim,
    i04_filled_stays_within_what_was_ordered,
    i04_filled_never_falls,
    i05_fills_sum_to_what_an_order_traded,
    i06_each_fill_is_booked_by_one_transaction,
    i06_each_fill_is_a_trade_of_the_exchange,
    i07_each_transaction_balances,
    i08_books_are_what_the_ledger_says,
    i08_positions_are_what_the_ledger_says,
    i08_nothing_a_deployment_owns_is_below_zero,
    i10_a_reservation_lives_as_long_as_its_order,
    i10_reservations_are_what_the_ledger_holds,
    i11_an_ended_order_stays_ended,
    i11_no_step_leads_out_of_an_end,
    i12_no_fate_is_unknown_for_long,
    i13_nothing_is_claimed_while_the_account_is_not_ready,
    i13_claims_follow_the_lease,
    i13_nothing_is_claimed_behind_a_halt,
    i14_no_order_is_above_its_limit,
    i14_no_position_may_outgrow_its_limit,
    i14_exposure_stays_within_its_multiple_of_equity,
    i14_no_more_orders_are_open_than_may_be,
    i14_no_more_orders_are_made_in_a_minute_than_may_be,
    i14_a_loss_beyond_its_limit_is_latched,
    i15_no_position_is_flipped,
    i16_events_tell_what_the_tables_say_of_orders,
    i16_each_fill_is_told_once,
    i16_each_bar_is_processed_once,
    i17_each_intent_is_accepted_once,
    i17_each_order_belongs_to_an_intent,
    i18_each_applied_trade_frame_is_booked,
    i19_the_exchange_was_not_asked_too_often,
    i20_no_secret_is_written_down,
    i21_each_transition_is_on_record,
    i22_money_is_never_a_float,
)
"""What holds at any moment."""

AT_REST: tuple[Rule, ...] = (
    i05_at_rest_an_order_has_what_the_exchange_filled,
    i06_at_rest_each_trade_of_the_exchange_is_booked,
    i09_at_rest_the_ledger_is_what_the_exchange_holds,
    i12_at_rest_no_fate_is_unknown,
    i18_at_rest_each_frame_is_applied,
    at_rest_nothing_is_left_to_do,
)
"""What holds besides when no fault is on, every answer and frame has come in, and no intent is on its way."""

BY_THE_CLOCK: tuple[Rule, ...] = (
    i03_nothing_was_sent_before_its_claim,
    i12_no_fate_is_unknown_for_long,
    i13_nothing_is_claimed_while_the_account_is_not_ready,
    i13_nothing_is_claimed_behind_a_halt,
    i13_claims_follow_the_lease,
    i14_no_more_orders_are_made_in_a_minute_than_may_be,
    i14_a_loss_beyond_its_limit_is_latched,
)
"""What compares times that different clocks may have told."""
