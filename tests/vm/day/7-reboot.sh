# The machine goes down with two web dynos and a worker running.
shows paas ps --app hello
exit 100
