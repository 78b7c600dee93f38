"""aio-pika and SQLModel: one IM, one session, one commit, then the acknowledgement."""

import asyncio
import json

import aio_pika
from sqlmodel import Session, create_engine

from benchmarks.peers.consumers.message import AMQP_URL, DATABASE_URL, QUEUE, Message


async def main() -> None:
    """Consume until stopped."""
    engine = create_engine(DATABASE_URL.replace("://", "+psycopg://"))
    connection = await aio_pika.connect_robust(AMQP_URL)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process(requeue=True):
                    with Session(engine) as session:
                        session.add(Message.model_validate(json.loads(message.body)))
                        session.commit()


if __name__ == "__main__":
    asyncio.run(main())
