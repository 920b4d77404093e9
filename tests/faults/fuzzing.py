"""What hypothesis tries: the same examples each time, as many as the budget says ($AMSAM_FUZZ_EXAMPLES for longer)."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def budget(usual=20):
    """Settings of a fuzzing test."""
    return settings(
        max_examples=int(os.environ.get("AMSAM_FUZZ_EXAMPLES", usual)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


numbers = st.one_of(
    st.integers(-3, 50),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(),
    st.sampled_from([2**63, 1e308, -0.0]),
)
texts = st.one_of(st.text(max_size=8), st.sampled_from(["", "liver", "1", "nan", "true", "[[1, 2, 3]]", "../x", "\0"]))
plain = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


def mapping(likely):
    """Mappings with the keys that the code looks for, and values of any kind or nearly right ones."""
    keys = st.sampled_from(sorted(likely))
    pairs = keys.flatmap(lambda key: st.tuples(st.just(key), st.one_of(likely[key], anything)))
    return st.lists(pairs, max_size=6).map(dict)


def tried(work, *arguments, refusals=ValueError, **options):
    """What the work gives, and the words in which it refused; one of both is None."""
    try:
        return work(*arguments, **options), None
    except refusals as error:
        words = str(error)
    assert words, "a refusal without a word"
    return None, words
