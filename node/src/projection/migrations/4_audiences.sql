-- To whom an announcement was made: EVERYONE, who follows a BRANCH, or the people of a ROLE.

ALTER TABLE announcements
    ADD COLUMN audience           text NOT NULL DEFAULT 'EVERYONE',
    ADD COLUMN audience_branch_id bigint,
    ADD COLUMN audience_role      text;
