"""The dashboard for policy and compliance."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import board, figure, graph, of_front_ends, quantile, rate_of_front_ends, row


def policy() -> Dashboard:
    """Return the dashboard of policy: archived people, front ends' versions, completeness."""
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
            {"{{rule}}": rate_of_front_ends('lcs_frontend_answered_ims_total{rule!=""}', "rule")},
            unit="cps", width=10, stacked=True,
        ))
        .with_panel(graph(
            "Policy confirmed", "Since the admin API last said to a front end that its policy counts.",
            {"{{front_end}}": of_front_ends("time() - (lcs_frontend_policy_confirmed_timestamp_seconds > 0)")},
            unit="s", width=8,
        ))
        .with_panel(graph(
            "Policy told", "In an hour: notices of a new version that the broker took; front ends that held another than its version's.",
            {
                "notices": "sum(increase(lcs_admin_notices_total[1h]))",
                "differed": "sum(increase(lcs_admin_policy_differences_total[1h]))",
            },
            width=8,
        ))
        .with_panel(graph(
            "Policy weakened", "Changes of the last hour after which less is archived, kept, told or refused: GET /v1/audit?weakened=true.",
            {"changes": "sum(max by (version) (lcs_policy_weakened))"}, width=8,
        ))
        .with_row(row("Past the archive"))
        .with_panel(graph(
            "Attempts in an hour", "What clients offered and was refused (MSRP, T.140, …), or called a notice and was archived.",
            {"{{kind}}": 'sum by (kind) (increase(lcs_frontend_unseen_attempts_total{pool=~"$pool"}[1h]))'}, width=8,
        ))
        .with_panel(graph(
            "Who attempts most", "In sessions of the last hour, of all pools.",
            {"{{address}}": "max by (address) (lcs_cdr_person_attempts)"}, width=8,
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
        .with_panel(graph(
            "Duration, 99 of 100", "To the last byte of the answer, by route.",
            {"{{route}}": quantile(0.99, "lcs_admin_request_seconds", "route")}, unit="s",
        ))
        .with_panel(graph(
            "Logins and accesses refused", "In ten minutes, by admin API and front ends. The security log says who, and from where.",
            {"{{service}} {{kind}}": "sum by (service, kind) (increase(lcs_security_refusals_total[10m]))"},
        ))
    )  # fmt: skip
