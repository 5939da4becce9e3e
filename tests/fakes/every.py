"""Every fake by its partner's name: one for each file of the catalogue."""

from collections.abc import Mapping

from tests.fakes.amazon_ads import AmazonAds
from tests.fakes.fake import Fake
from tests.fakes.ga4 import Ga4
from tests.fakes.google_ads import GoogleAds
from tests.fakes.linkedin import LinkedIn
from tests.fakes.meta import Meta
from tests.fakes.microsoft_ads import MicrosoftAds
from tests.fakes.pinterest import Pinterest
from tests.fakes.tiktok import TikTok

FAKES: Mapping[str, type[Fake]] = {
    fake.name: fake
    for fake in (AmazonAds, Ga4, GoogleAds, LinkedIn, Meta, MicrosoftAds, Pinterest, TikTok)
}
