from sockwave.messages import SLOW_POLICIES as SLOW_POLICIES
