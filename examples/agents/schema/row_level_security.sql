-- For PostgreSQL: a role for the program, to which each transaction shows the rows of one user.

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'agents') THEN
        CREATE ROLE agents LOGIN;
    END IF;
END $$;
GRANT SELECT, INSERT ON accounts TO agents;
GRANT SELECT, INSERT, DELETE ON api_keys TO agents;
GRANT SELECT, INSERT ON threads TO agents;
GRANT SELECT, INSERT, UPDATE ON runs TO agents;

ALTER TABLE threads ENABLE ROW LEVEL SECURITY;
ALTER TABLE runs ENABLE ROW LEVEL SECURITY;
-- Where no user is set there is no setting, which is an error: a query outside of a user's transaction
-- shows nothing at all.
DROP POLICY IF EXISTS own ON threads;
CREATE POLICY own ON threads USING (owner = current_setting('app.user_id'))
    WITH CHECK (owner = current_setting('app.user_id'));
DROP POLICY IF EXISTS own ON runs;
CREATE POLICY own ON runs USING (owner = current_setting('app.user_id'))
    WITH CHECK (owner = current_setting('app.user_id'));
