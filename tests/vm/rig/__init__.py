# SPDX-License-Identifier: Apache-2.0
"""The rig of the tier vm: what tests/vm/run is made of."""


class Skip(Exception):
    """The rig cannot run on this machine; the text says why."""


class Failed(Exception):
    """A boot, or something that it needs, went wrong; the text says what."""
