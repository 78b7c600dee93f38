"""The dashboard of the pipeline, step by step."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    ARCHIVED_IMS,
    board,
    graph,
    of_front_ends,
    quantile,
    rate,
    rate_of_front_ends,
    row,
)


def pipeline() -> Dashboard:
    """Where does it take so long?"""
    return (
        board("lcs-pipeline", "LCS Archive: pipeline", "Every step of the way, by front end, node and worker.")
        .with_row(row("Front ends"))
        .with_panel(graph(
            "Accepted", "IMs a second answered 201 or 202.",
            {"{{front_end}}": rate_of_front_ends(ARCHIVED_IMS, "front_end")}, unit="cps", width=8,
        ))
        .with_panel(graph(
            "Waiting to be published", "IMs in memory.",
            {"{{front_end}}": of_front_ends("lcs_frontend_pending_ims")}, width=8,
        ))
        .with_panel(graph(
            "IMs in a message", "Group commit: more under load.",
            {"{{front_end}}": rate_of_front_ends("lcs_frontend_publish_size_ims_sum", "front_end")
                + " / " + rate_of_front_ends("lcs_frontend_publish_size_ims_count", "front_end")}, width=8,
        ))
        .with_panel(graph(
            "Confirm, 99 of 100", "From publishing to the broker's confirm.",
            {"{{front_end}}": of_front_ends(quantile(0.99, "lcs_frontend_confirm_seconds", "front_end"))}, unit="s", width=8,
        ))
        .with_panel(graph(
            "State", "1: spooling, 2: blocking.",
            {"{{front_end}}": of_front_ends('lcs_frontend_state{state="spooling"} + ignoring (state)'
                                            ' 2 * lcs_frontend_state{state="blocking"}')}, width=8,
        ))
        .with_panel(graph(
            "Connected to the broker", "1: it takes IMs.",
            {"{{front_end}}": of_front_ends("lcs_frontend_broker_connected")}, width=8,
        ))
        .with_row(row("Spool"))
        .with_panel(graph(
            "Filled", "Part of what it may have.",
            {"{{front_end}}": of_front_ends("lcs_frontend_spool_bytes / lcs_frontend_spool_max_bytes")},
            unit="percentunit", width=8,
        ))
        .with_panel(graph(
            "Age of the oldest IM", "0: it is empty.",
            {"{{front_end}}": of_front_ends(
                "(time() - lcs_frontend_spool_oldest_timestamp_seconds)"
                " * (lcs_frontend_spool_oldest_timestamp_seconds > bool 0)")}, unit="s", width=8,
        ))
        .with_panel(graph(
            "In and out", "IMs a second.",
            {
                "spooled": rate_of_front_ends("lcs_frontend_spooled_ims_total"),
                "sent": rate_of_front_ends("lcs_frontend_drained_ims_total"),
            },
            unit="cps", width=8,
        ))
        .with_panel(graph(
            "State folder unusable", "1: this front end can keep nothing on its disk. /readyz says why.",
            {"{{front_end}}": of_front_ends("lcs_frontend_disk_trouble")},
        ))
        .with_panel(graph(
            "Slots left", "Of the state folder, that a person must look after, by why: IMs answered 202 may wait in them.",
            {"{{front_end}}: {{why}}": of_front_ends("lcs_frontend_left_slots")},
        ))
        .with_row(row("What else front ends tell"))
        .with_panel(graph(
            "Ids ahead of the clock", "0 unless a front end's clock was set back: then its IMs keep their order, and share a time.",
            {"{{front_end}}": of_front_ends("lcs_frontend_ids_ahead_seconds")}, unit="s", width=8,
        ))
        .with_panel(graph(
            "Notices to be recorded", "IMs of which the admin API does not know yet which partners were told.",
            {"{{front_end}}": of_front_ends("lcs_frontend_notices_waiting")}, width=8,
        ))
        .with_panel(graph(
            "Lost in an hour", "What no record will have: notices given to partners; activities of call detail records. Never IMs.",
            {
                "notices {{front_end}}": of_front_ends("increase(lcs_frontend_notices_lost_total[1h])"),
                "activities {{front_end}}": of_front_ends("increase(lcs_frontend_cdr_lost_activities_total[1h])"),
            },
            width=8,
        ))
        .with_row(row("RabbitMQ"))
        .with_panel(graph(
            "Messages", "A second: received, confirmed, acknowledged.",
            {
                "received": rate("rabbitmq_global_messages_received_total"),
                "confirmed": rate("rabbitmq_global_messages_confirmed_total"),
                "acknowledged": rate("rabbitmq_global_messages_acknowledged_total"),
            },
            unit="cps", width=8,
        ))
        .with_panel(graph(
            "Queues", "Messages in each queue.",
            {"{{queue}}": 'max by (queue) (rabbitmq_detailed_queue_messages{vhost="lcs"})'}, width=8,
        ))
        .with_panel(graph(
            "Memory", "Of each node.", {"{{instance}}": "rabbitmq_process_resident_memory_bytes"},
            unit="bytes", width=8,
        ))
        .with_row(row("Workers and database"))
        .with_panel(graph(
            "Committed", "New IMs a second.",
            {"{{instance}}": "rate(lcs_archiving_committed_ims_total[$__rate_interval])"}, unit="cps", width=8,
        ))
        .with_panel(graph(
            "Duplicates and parked", "IMs a second: came again; could not be stored.",
            {
                "duplicates": rate("lcs_archiving_duplicate_ims_total"),
                "parked": rate("lcs_archiving_parked_ims_total"),
            },
            unit="cps", width=8,
        ))
        .with_panel(graph(
            "IMs in a batch", "2,000 at most, under load.",
            {"{{instance}}": "rate(lcs_archiving_batch_size_ims_sum[$__rate_interval])"
                             " / rate(lcs_archiving_batch_size_ims_count[$__rate_interval])"}, width=8,
        ))
        .with_panel(graph(
            "Commit", "A batch's transaction.",
            {f"p{share * 100:g}": quantile(share, "lcs_archiving_commit_seconds") for share in (0.5, 0.99)},
            unit="s", width=8,
        ))
        .with_panel(graph(
            "Lag", "Age, when it was committed, of the oldest IM of the last batch.",
            {"{{instance}}": "lcs_archiving_lag_seconds"}, unit="s", width=8,
        ))
        .with_panel(graph(
            "In workers' hands", "IMs taken and not yet acknowledged.",
            {"{{instance}}": "lcs_archiving_unacknowledged_ims"}, width=8,
        ))
        .with_panel(graph(
            "Oldest in a worker's hands", "Since it was published; 0: none. One that only rises is stuck.",
            {"{{instance}}": "(time() - lcs_archiving_unacknowledged_oldest_timestamp_seconds)"
                             " * (lcs_archiving_unacknowledged_oldest_timestamp_seconds > bool 0)"},
            unit="s", width=8,
        ))
        .with_panel(graph(
            "What can't be read", "IMs a second: encrypted by their senders, with what; texts whose character set was guessed.",
            {
                "{{kind}}": "sum by (kind) (rate(lcs_encrypted_ims_total[$__rate_interval]))",
                "guessed: {{reason}}": "sum by (reason) (rate(lcs_archiving_guessed_charsets_total[$__rate_interval]))",
            },
            unit="cps", width=8,
        ))
        .with_panel(graph(
            "Call detail records", "AMQP messages in lcscdr, a second's worth of a front end each; activities stored a second.",
            {
                "in lcscdr": 'sum(rabbitmq_detailed_queue_messages{queue="lcscdr"})',
                "stored": rate("lcs_cdr_activities_total"),
            },
            width=8,
        ))
        .with_panel(graph(
            "Connected", "1: worker to broker, worker to database, admin API to both.",
            {
                "broker {{instance}}": "lcs_archiving_broker_connected",
                "database {{instance}}": "lcs_archiving_database_connected",
                "admin API to database": "lcs_admin_database_connected",
                "admin API to broker": "lcs_admin_broker_connected",
            },
            width=8,
        ))
        .with_panel(graph(
            "Months without a partition", "Of this month and those near it: their IMs go to the default partition.",
            {"months": "max(lcs_archiving_lacking_partitions)"}, width=8,
        ))
        .with_row(row("SIP edge, where there is one"))
        .with_panel(graph(
            "Asked of front ends", "A second, by what was answered: 201 and 202 archived, 200 not by policy, none: nobody did.",
            {"{{answer}}": "sum by (answer) (rate(kamailio_front_end_answers_total[$__rate_interval]))"},
            unit="reqps", width=8, stacked=True,
        ))
        .with_panel(graph(
            "Registered", "People with a client at the edge.",
            {"{{instance}}": "kamailio_usrloc_location_users"}, width=8,
        ))
        .with_panel(graph(
            "In hand", "Requests that are not answered yet.",
            {"{{instance}}": "kamailio_tmx_active_transactions"}, width=8,
        ))
    )  # fmt: skip
