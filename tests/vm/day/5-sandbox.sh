# The sandbox's own tests, beside the platform. They look for the nursery where it was built.
built_at=$(< $tree/built-at)
mkdir -p "$(dirname "$built_at")"
ln -sfn $tree "$built_at"
cd "$built_at"
for test in target/release/deps/{central,network,policy,world}; do
    shows "$test" --test-threads=1
done
