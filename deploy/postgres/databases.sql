-- Each service has a database of its own; none reads another's.
CREATE DATABASE amends_intake;
CREATE DATABASE amends_policy;
CREATE DATABASE amends_notifier;
