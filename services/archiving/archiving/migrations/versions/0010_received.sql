-- What was taken in at a time is found, however late it was by its sender's clock. A block range index: rows are appended as
-- they are taken in, and it costs the worker next to nothing.

SET LOCAL search_path = archive;

CREATE INDEX messages_received ON messages USING brin (received_at);
