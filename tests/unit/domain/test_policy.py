"""Which rules are in force, and which limit holds."""

from notify.domain.records.policy import LINK_LIMIT_DEFAULT, Limit, Policy, Skip


def test_a_rule_acts_until_the_millisecond_it_expires() -> None:
    policy = Policy(
        3,
        {("a", "r"): Skip(1, expires_at=50), ("a", "s"): Skip(2)},
        {("a", "email"): Limit(1, expires_at=50), (None, "email"): Limit(2)},
    )
    assert policy.at(49) == policy
    assert policy.at(50) == Policy(3, {("a", "s"): Skip(2)}, {(None, "email"): Limit(2)})


def test_an_apps_own_limit_goes_before_the_one_of_all_apps() -> None:
    policy = Policy(limits={("a", "email"): Limit(0), (None, "email"): Limit(7)})
    assert policy.limit("a", "email") == 0
    assert policy.limit("b", "email") == 7
    assert policy.limit("b", "sms") == LINK_LIMIT_DEFAULT == 100
