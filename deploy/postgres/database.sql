-- The database, its owner's alone: the schemas are made by the services' migrations, as lcs_owner.
-- Unicode, whatever the server's own default is: an IM may hold any character.
CREATE DATABASE lcslog OWNER lcs_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE lcslog FROM PUBLIC;
GRANT CONNECT ON DATABASE lcslog TO lcs_archiving, lcs_admin;
