"""The schema's revisions, one module each, run by migrate.py in one transaction.

A new one adds tables, columns or indexes with `op`, in types of SQLAlchemy's own, and becomes migrate.HEAD. SQLite's
foreign keys are on while it runs: a table that is made anew under its name (`batch_alter_table`) would take the rows
along that refer to it.
"""
