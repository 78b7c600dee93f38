"""The dashboard for the operator."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    ARCHIVED_IMS,
    board,
    figure,
    graph,
    of_front_ends,
    quantile,
    rate,
    rate_of_front_ends,
    row,
)


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
                "accepted": rate_of_front_ends(ARCHIVED_IMS),
                "confirmed": rate_of_front_ends("lcs_frontend_confirmed_ims_total"),
                "committed (all pools)": rate("lcs_archiving_committed_ims_total"),
            },
            unit="cps",
        ))
        .with_panel(graph(
            "Answers", "IMs a second by status: 503 were not delivered, 4xx were wrong.",
            {"{{status}}": rate_of_front_ends("lcs_frontend_answered_ims_total", "status")},
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
            "Parked", "IMs that could not be stored: GET /v1/parked.", "max(last_over_time(lcs_parked_ims[1h]))",
            bad_from=1, width=3,
        ))
        .with_panel(figure(
            "Records parked", "Lines of call detail records that could not be stored: GET /v1/parked, kind cdr.",
            "max(last_over_time(lcs_cdr_parked_lines[1h]))", bad_from=1, width=3,
        ))
        .with_panel(figure(
            "Missing", "Numbers neither archived nor parked; some are on their way.",
            "sum(lcs_completeness_missing_ims)", width=3,
        ))
        .with_panel(figure(
            "Counted", "Since then: what is parked and missing, and the archive's size, are so old.",
            "max(lcs_admin_sample_age_seconds)", unit="s", bad_from=60, width=3,
        ))
        .with_panel(figure(
            "Front ends blocking", "They refuse IMs that must be archived.",
            'sum(lcs_frontend_state{state="blocking"})', bad_from=1, width=3,
        ))
        .with_panel(figure(
            "Broker alarms", "Memory, disk, file descriptors.",
            'sum({__name__=~"rabbitmq_alarms_.+"})', bad_from=1, width=3,
        ))
        .with_panel(figure(
            "Not answering", "Of those that Prometheus knows: a container that stopped is none, see Answering.",
            'count(up == 0) or vector(0)', bad_from=1, width=3,
        ))
        .with_panel(figure(
            "Database", "1: workers reach it.", "min(lcs_archiving_database_connected)", width=3,
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
