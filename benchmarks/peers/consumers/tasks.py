"""Celery and SQLModel: a task an IM, inserted, committed, acknowledged late."""

import json
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from sqlmodel import Session, create_engine

from benchmarks.peers.consumers.message import AMQP_URL, DATABASE_URL, QUEUE, Message

app = Celery("archive", broker=AMQP_URL)
app.conf.update(
    task_default_queue=QUEUE,
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,  # no global prefetch: quorum queues have none
    task_acks_late=True,  # after the commit, not before the task
    task_reject_on_worker_lost=True,  # and not when a worker dies over it
    task_ignore_result=True,
    worker_prefetch_multiplier=64,  # many, as its documentation advises for short tasks
    broker_connection_retry_on_startup=True,
)
engine = create_engine(DATABASE_URL.replace("://", "+psycopg://"))


@app.task
def archive(im: dict[str, Any]) -> None:
    """Archive one IM."""
    with Session(engine) as session:
        session.add(Message.model_validate(im))
        session.commit()


if __name__ == "__main__":  # fills the queue from a file with one IM a line
    from benchmarks.peers.consumers.tasks import archive as task  # its name is this module's, not __main__'s

    with Path(sys.argv[1]).open() as ims:
        for line in ims:
            task.apply_async([json.loads(line)])
