# After the reboot, apps are there again without anybody's doing.
until_true 120 is_healthy
until_true 120 answers hello 'hello from procfile'
until_true 120 eval '[[ $(paas ps --app hello | grep -c ": up ") == 3 ]]'
shows paas ps --app hello
shows paas doctor
