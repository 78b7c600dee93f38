-- The database, its owner's alone: the schemas are made by the services' migrations, as lcs_owner.
CREATE DATABASE lcslog OWNER lcs_owner;
REVOKE ALL ON DATABASE lcslog FROM PUBLIC;
GRANT CONNECT ON DATABASE lcslog TO lcs_archiving, lcs_admin;
