"""The dashboards: for the operator, for who looks closer at the pipeline, for policy and compliance."""

from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.panels import board, figure, graph, of_front_ends, quantile, row

FOLDER: Final = Path(__file__).parent / "dashboards"

_ARCHIVED: Final = 'lcs_frontend_answered_ims_total{status=~"201|202"}'


def _rate(counter: str) -> str:
    return f"sum(rate({counter}[$__rate_interval]))"


def _rate_of_front_ends(counter: str, by: str = "") -> str:
    rate = of_front_ends(f"rate({counter}[$__rate_interval])")
    return f"sum by ({by}) ({rate})" if by else f"sum({rate})"


def overview() -> Dashboard:
    """Is everything archived, and in time?"""
    return (
        board("lcs-overview", "LCS Archive: overview", "Is everything archived, and in time? For the operator.")
        .with_panel(graph(
            "Queue depth of lcslog",
            "AMQP messages that wait for a worker (ready), or for its commit (unacknowledged). Each holds one IM"
            " or, under load, many. It should come back to zero within seconds.",
            {"ready": "lcs:lcslog_ready:messages", "unacknowledged": "lcs:lcslog_unacked:messages"},
            width=16, height=12, stacked=True,
        ))
        .with_panel(figure(
            "Oldest IM waits", "At most: nobody can look into the queue. Workers tell of what they hold.",
            "lcs:lcslog_oldest:age_seconds",
            unit="s", bad_from=120,
        ))
        .with_panel(figure(
            "Empty in", "At the rate of the last minute; 0 while it is empty.",
            "lcs:lcslog_drain:seconds", unit="s", infinite="never: it does not shrink",
        ))
        .with_panel(figure(
            "Growth", "Messages a second, over the last minute.", "lcs:lcslog_growth:messages_per_second",
            unit="cps", at=(16, 4),
        ))
        .with_panel(figure(
            "IMs in it", "Counted, a few seconds ago: what front ends tell of and the archive has not.", "lcs:lcslog:ims",
            at=(20, 4),
        ))
        .with_panel(figure("Workers", "Consumers of lcslog.", "lcs:lcslog:consumers", at=(16, 8)))
        .with_panel(figure(
            "Alerts", "That fire now: each has its section in docs/operations.md.",
            'count(ALERTS{alertstate="firing"}) or vector(0)', bad_from=1, at=(20, 8),
        ))
        .with_row(row("Flow"))
        .with_panel(graph(
            "Accepted → confirmed → committed",
            "IMs a second: answered 201 or 202, confirmed by the broker, committed by PostgreSQL. One line means"
            " that all is well; once pools or front ends are chosen, committed is still of all.",
            {
                "accepted": _rate_of_front_ends(_ARCHIVED),
                "confirmed": _rate_of_front_ends("lcs_frontend_confirmed_ims_total"),
                "committed (all pools)": _rate("lcs_archiving_committed_ims_total"),
            },
            unit="cps",
        ))
        .with_panel(graph(
            "Answers", "IMs a second by status: 503 were not delivered, 4xx were wrong.",
            {"{{status}}": _rate_of_front_ends("lcs_frontend_answered_ims_total", "status")},
            unit="cps", stacked=True,
        ))
        .with_row(row("Latency"))
        .with_panel(graph(
            "From acceptance to commit", "Of all IMs; those that were spooled take as long as the broker was away.",
            {
                f"p{share * 100:g}": quantile(share, "lcs_archiving_latency_seconds")
                for share in (0.5, 0.99, 0.999)
            },
            unit="s", width=8,
        ))
        .with_panel(graph(
            "Confirm", "From publishing to the broker's confirm, 99 of 100.",
            {"p99": of_front_ends(quantile(0.99, "lcs_frontend_confirm_seconds"))}, unit="s", width=8,
        ))
        .with_panel(graph(
            "Commit", "A batch's transaction, 99 of 100.",
            {"p99": quantile(0.99, "lcs_archiving_commit_seconds")}, unit="s", width=8,
        ))
        .with_row(row("Trouble"))
        .with_panel(figure(
            "Parked", "IMs that could not be stored: GET /v1/parked.", "max(last_over_time(lcs_parked_ims[1h]))", bad_from=1
        ))
        .with_panel(figure(
            "Missing", "Numbers neither archived nor parked; some are on their way.",
            "sum(lcs_completeness_missing_ims)",
        ))
        .with_panel(figure(
            "Front ends blocking", "They refuse IMs that must be archived.",
            'sum(lcs_frontend_state{state="blocking"})', bad_from=1,
        ))
        .with_panel(figure(
            "Broker alarms", "Memory, disk, file descriptors.",
            'sum({__name__=~"rabbitmq_alarms_.+"})', bad_from=1,
        ))
        .with_panel(figure(
            "Not answering", "Of those that Prometheus knows: a container that stopped is none, see Answering.",
            'count(up == 0) or vector(0)', bad_from=1,
        ))
        .with_panel(figure(
            "Database", "1: workers reach it.", "min(lcs_archiving_database_connected)",
        ))
        .with_panel(graph(
            "Spool", "IMs on front ends' disks that wait for the broker.",
            {"{{front_end}}": of_front_ends("lcs_frontend_spool_ims")}, width=6,
        ))
        .with_panel(graph(
            "Free disk", "Of front ends (policy, spool) and of the broker.",
            {
                "{{front_end}}": of_front_ends("lcs_frontend_disk_free_bytes"),
                "RabbitMQ {{instance}}": "rabbitmq_disk_space_available_bytes",
            },
            unit="bytes", width=6,
        ))
        .with_panel(graph(
            "Archive", "Size of the database.", {"size": "max(lcs_archive_size_bytes)"}, unit="bytes", width=6
        ))
        .with_panel(graph(
            "Answering", "How many of each service answer Prometheus.", {"{{job}}": "lcs:answering:replicas"}, width=6
        ))
    )  # fmt: skip


def pipeline() -> Dashboard:
    """Where does it take so long?"""
    return (
        board("lcs-pipeline", "LCS Archive: pipeline", "Every step of the way, by front end, node and worker.")
        .with_row(row("Front ends"))
        .with_panel(graph(
            "Accepted", "IMs a second answered 201 or 202.",
            {"{{front_end}}": _rate_of_front_ends(_ARCHIVED, "front_end")}, unit="cps", width=8,
        ))
        .with_panel(graph(
            "Waiting to be published", "IMs in memory.",
            {"{{front_end}}": of_front_ends("lcs_frontend_pending_ims")}, width=8,
        ))
        .with_panel(graph(
            "IMs in a message", "Group commit: more under load.",
            {"{{front_end}}": _rate_of_front_ends("lcs_frontend_publish_size_ims_sum", "front_end")
                + " / " + _rate_of_front_ends("lcs_frontend_publish_size_ims_count", "front_end")}, width=8,
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
                "spooled": _rate_of_front_ends("lcs_frontend_spooled_ims_total"),
                "sent": _rate_of_front_ends("lcs_frontend_drained_ims_total"),
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
        .with_row(row("RabbitMQ"))
        .with_panel(graph(
            "Messages", "A second: received, confirmed, acknowledged.",
            {
                "received": _rate("rabbitmq_global_messages_received_total"),
                "confirmed": _rate("rabbitmq_global_messages_confirmed_total"),
                "acknowledged": _rate("rabbitmq_global_messages_acknowledged_total"),
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
                "duplicates": _rate("lcs_archiving_duplicate_ims_total"),
                "parked": _rate("lcs_archiving_parked_ims_total"),
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
                "stored": _rate("lcs_cdr_activities_total"),
            },
            width=8,
        ))
        .with_panel(graph(
            "Connected", "1: worker to broker, worker to database, admin API to database.",
            {
                "broker {{instance}}": "lcs_archiving_broker_connected",
                "database {{instance}}": "lcs_archiving_database_connected",
                "admin API": "lcs_admin_database_connected",
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


def policy() -> Dashboard:
    """Who is archived, is that everywhere so, is it complete?"""
    return (
        board("lcs-policy", "LCS Archive: policy and compliance", "Who is archived, and is it all there?")
        .with_row(row("Completeness"))
        .with_panel(graph(
            "Missing", "Numbers neither archived nor parked: on their way, or lost if they stay.",
            {"{{pool}}": 'lcs_completeness_missing_ims{pool=~"$pool"}'}, width=16, height=12,
        ))
        .with_panel(figure(
            "Accepted", "Numbered by archiving agents: of the chosen pools, all front ends.",
            'sum(lcs_completeness_accepted_ims{pool=~"$pool"})', height=3, width=8,
        ))
        .with_panel(figure(
            "Archived", "Of these.", 'sum(lcs_completeness_archived_ims{pool=~"$pool"})', height=3, width=8,
            at=(16, 4),
        ))
        .with_panel(figure(
            "Parked", "Of these.", 'sum(lcs_completeness_parked_ims{pool=~"$pool"})', bad_from=1, height=3,
            width=8, at=(16, 7),
        ))
        .with_panel(figure(
            "Waiting", "Of these, told of by their front ends alone: they may be on the queue, and count as missing once it is read.",
            'sum(lcs_completeness_waiting_ims{pool=~"$pool"})', height=3, width=8, at=(16, 10),
        ))
        .with_row(row("Policy"))
        .with_panel(figure("Version", "The newest.", "max(lcs_admin_policy_version)", width=4, height=8))
        .with_panel(graph(
            "Version by front end", "All should be at the newest within a second.",
            {"{{front_end}}": of_front_ends("lcs_frontend_policy_version")}, width=10,
        ))
        .with_panel(graph(
            "IMs by rule", "A second: why they are archived, or not.",
            {"{{rule}}": _rate_of_front_ends('lcs_frontend_answered_ims_total{rule!=""}', "rule")},
            unit="cps", width=10, stacked=True,
        ))
        .with_row(row("Past the archive"))
        .with_panel(graph(
            "Attempts in an hour", "What clients offered and was refused (MSRP, T.140, …), or called a notice and was archived.",
            {"{{kind}}": 'sum by (kind) (increase(lcs_frontend_unseen_attempts_total{pool=~"$pool"}[1h]))'}, width=16,
        ))
        .with_panel(graph(
            "Forged vouchers", "In an hour: what an edge brought back and no front end gave it, or too late.",
            {"{{header}}": 'sum by (header) (increase(lcs_frontend_forged_vouchers_total{pool=~"$pool"}[1h]))'}, width=8,
        ))
        .with_row(row("Archive"))
        .with_panel(graph(
            "Archived in an hour", "IMs of the chosen pools, by the numbers of their agents.",
            {"IMs": 'sum(delta(lcs_completeness_archived_ims{pool=~"$pool"}[1h]))'}, width=8,
        ))
        .with_panel(graph("Size", "Of the database: all pools.", {"size": "max(lcs_archive_size_bytes)"}, unit="bytes", width=8))
        .with_panel(graph("Parked, over time", "IMs of all pools that wait for somebody.", {"parked": "max(lcs_parked_ims)"}, width=8))
        .with_row(row("Admin API"))
        .with_panel(graph(
            "Requests", "A second, by route.",
            {"{{method}} {{route}}": "sum by (method, route) (rate(lcs_admin_requests_total[$__rate_interval]))"},
            unit="reqps",
        ))
        .with_panel(graph(
            "Refused or failed", "A second: 401 and 403 tell of somebody who may not, 5xx of trouble.",
            {"{{status}} {{route}}":
                'sum by (status, route) (rate(lcs_admin_requests_total{status=~"4..|5.."}[$__rate_interval]))'},
            unit="reqps",
        ))
    )  # fmt: skip


def render_all() -> dict[str, str]:
    """Return the dashboards' JSON by the name of its file."""
    files = {}
    for make in (overview, pipeline, policy):
        built = make().build()
        files[f"{built.uid}.json"] = JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"
    return files
