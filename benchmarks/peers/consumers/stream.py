"""FastStream and SQLModel on asyncpg: insert and commit; FastStream acknowledges after it."""

import asyncio
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks.peers.consumers.message import AMQP_URL, DATABASE_URL, QUEUE, Message

# FastStream handles as many messages side by side as it prefetches: as many as there are connections.
CONNECTIONS = 20
broker = RabbitBroker(AMQP_URL, default_channel=Channel(prefetch_count=CONNECTIONS))
app = FastStream(broker)
engine = create_async_engine(DATABASE_URL.replace("://", "+asyncpg://"), pool_size=CONNECTIONS)


@broker.subscriber(
    RabbitQueue(QUEUE, durable=True, queue_type=QueueType.QUORUM), ack_policy=AckPolicy.NACK_ON_ERROR
)
async def archive(im: dict[str, Any]) -> None:
    """Archive one IM."""
    async with AsyncSession(engine) as session:
        session.add(Message.model_validate(im))
        await session.commit()


if __name__ == "__main__":
    asyncio.run(app.run())
