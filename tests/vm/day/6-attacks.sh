# The whole list of what a stranger's code may try, in each network mode and from a build, on
# platforms of their own beside this one (tests/system/attacks/table.txt).
cd "$(< $tree/built-at)"
# Row 46 leaves thousands of connections open in the test itself.
ulimit -n 65536
for test in from_a_dyno_in_central_mode from_a_dyno_in_isolated_mode from_a_build; do
    shows target/release/deps/system --exact attacks::$test
done
until_true 60 is_healthy
until_true 60 answers hello 'hello from procfile'
